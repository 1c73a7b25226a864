"""The Model Context Protocol: the parts that the gateway in front of servers and the gateway as one share."""
