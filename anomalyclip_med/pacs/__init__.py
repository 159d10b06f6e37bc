"""The round trip to a PACS: studies come in by DICOM or DICOMweb, are scored, and the results are stored back.

Received instances go into a `Spool`; a `Service` scores each study in a process of its own and hands the DICOM
objects that come out of it to a destination. The spool is all the state there is, so that a restart goes on where
the last run ended. Needs the extra `pacs`.
"""
