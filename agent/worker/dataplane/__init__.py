"""The data plane over HTTP: the Open Inference Protocol v2, as existing clients speak it.

`server` owns the sockets and a thread, `connection` speaks HTTP on one of them, `service` knows the paths, `request`
and `answer` are the protocol's JSON and binary forms, which are pure.
"""
