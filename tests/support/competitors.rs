//! Other NAT rules on the node.
