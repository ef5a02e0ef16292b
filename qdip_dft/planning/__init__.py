"""Study files, the plan of a study and campaigns."""
