"""The documentation as a site: `make site` stages the pages and builds them with MkDocs Material, links strict."""
