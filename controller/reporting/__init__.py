"""What people see of a run: the HTML report, the terminal's live view, the text table and the JSON document."""
