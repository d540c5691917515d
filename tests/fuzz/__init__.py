"""Whatever parses bytes from outside, under a fuzzer that is led by coverage: `make fuzz`."""
