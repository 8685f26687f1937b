"""As sowlv2.utils: the file names, folders, masks and colours of SOWLv2's outputs."""
