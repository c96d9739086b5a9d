"""The live client: sends a planned load to a running endpoint and records every answer.

load     which request is sent when          prompt   its text
client   the open loop over HTTP             stream   tokens in an answer
command  `argosy sim replay`                 options  its flags
flags    their checks                        job      its work
"""

CHAT_PATH = "/v1/chat/completions"
"""OpenAI's path for a chat."""
