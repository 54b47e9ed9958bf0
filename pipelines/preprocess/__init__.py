"""From a JPEG to the tensor that a DNN takes, in several ways."""
