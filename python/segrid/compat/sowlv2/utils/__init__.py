"""As sowlv2.utils: file names, folders, masks and colours of SOWLv2's outputs."""
