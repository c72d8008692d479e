"""The built-in scanner: whether an upload is the kind of video that it was announced to be."""
