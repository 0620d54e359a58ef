"""FHIR R4 Bulk Data in, features out: sources, validation, views, features, quality."""
