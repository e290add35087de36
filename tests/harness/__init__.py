"""What the black-box tests share: servers, clients, certificates and honest counting.

Everything here drives the built `rookery` binary through its sockets and its command line; nothing
looks inside it.
"""
