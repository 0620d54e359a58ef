"""The command `consortium`: verbs for hospital IT, researchers and auditors."""
