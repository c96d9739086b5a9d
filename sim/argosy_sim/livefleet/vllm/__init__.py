"""The simulated vLLM: its command line, its HTTP server and metrics, and its engine against the clock.

args          vLLM's command line           profiles  what engine such a line gives on a GPU
server        one simulated vLLM: HTTP      driver    its engine against the clock
openai_api    requests in, frames out       metrics   `/metrics`
prompt        lengths and blocks of prompts
"""
