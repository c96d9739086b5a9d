"""The demo's report: the HTML page, the terminal text and the JSON document. Pure."""
