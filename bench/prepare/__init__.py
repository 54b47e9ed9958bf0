"""What must lie on disk before a run: models, images, and the checks of the machine; nothing here
asks a server.
"""
