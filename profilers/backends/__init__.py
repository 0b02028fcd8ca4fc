"""The kinds of device that can be measured here, one file each, behind `AbstractBackend`."""
