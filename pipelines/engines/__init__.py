"""One exchange with an inference server, by each transport; no images, no tasks."""
