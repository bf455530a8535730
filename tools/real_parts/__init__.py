"""Real servers on loopback, for tests (`tools.real_parts.fixtures`) and for people (`make cluster`).

Each server is a child process with a free port, a folder of its own, a bounded start and a clean end by process id.
Nothing here installs anything: `tools/install_real_parts.sh` does.
"""
