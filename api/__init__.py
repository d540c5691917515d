"""The REST API: documents and their history, what the mesh looks like, and the commands of operators. Knows nothing of the program that it serves:
what it needs of that comes as a `api.backend.Backend`.
"""
