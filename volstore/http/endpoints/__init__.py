"""One file per resource, with the bodies it takes and the views it answers."""
