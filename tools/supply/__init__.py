"""What meltguard is made of, for those who have to know: bills of materials and an audit against advisories."""
