"""What one would write in Triton's place: a pipeline of one DNN behind other servers, which take
and give over HTTP what Triton does. Each app is a program; what is computed is the same in all.
"""
