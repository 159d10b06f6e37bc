"""The commands of ``anomalyclip-med``: their options, and what each one calls; libraries are imported when it runs."""
