"""Commands that measure visiontax itself and what it stands on: `bench selfcheck NAME`; nothing
here is for users' models.
"""
