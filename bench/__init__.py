"""The numbers this project promises, measured: `make bench`, or `python -m bench --rows move,rtt`."""
