"""What people see of a run: the HTML report, the terminal's live view, the text table and the JSON document.

Called by the command line; reads the record of the simulator and the scenario, and nothing else. All of it is pure
but for the live view, which writes to standard error.
"""
