"""An HTTP client that sends planned requests to an OpenAI-compatible endpoint and measures every answer.

planned    what is sent when          prompt   its text, or its token ids
open_loop  the client                 stream   tokens in an answer
records    what became of a request   flags    checks of what a user gives
"""
