# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_non_masquerade_daemon_global_optspecs
    string join \n config= nomasq-all-reserved-ranges enable-ipv6 random-fully to-ports= resync-interval= masq-chain= table= table-owner= http-address= metrics-per-cidr log-format= log-level= h/help V/version
end

function __fish_non_masquerade_daemon_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_non_masquerade_daemon_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_non_masquerade_daemon_using_subcommand
    set -l cmd (__fish_non_masquerade_daemon_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_needs_command" -l config -d 'Configuration file, YAML or JSON, or a directory of such files; absent: the defaults. Repeatable: all are merged; in the environment, paths are separated by \':\'' -r -F
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_needs_command" -l to-ports -d 'Source ports of masqueraded TCP, UDP and SCTP connections, such as 1024-29999,32768-65535; empty: as the kernel chooses. Counts where no file has toPorts' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_needs_command" -l resync-interval -d 'How often files and tables are compared without any event; a bare number is seconds, as for ip-masq-agent-v2. Counts where no file has resyncInterval' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_needs_command" -l masq-chain -d 'Name of the chain that decides; another name takes the place of the one before' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_needs_command" -l table -d 'Name of the table; not one of iptables-nft\'s' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_needs_command" -l table-owner -d 'Own the table (flags owner,persist), so that other processes cannot change it: auto, where the kernel (Linux 6.9) and libnftables (1.1.0) can; off, never' -r -f -a "auto\t'Where kernel and libnftables can'
off\t'Never'"
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_needs_command" -l http-address -d 'Where to serve /metrics, /healthz, /readyz and /configuration, or off' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_needs_command" -l log-format -d 'How log lines are written, to standard error' -r -f -a "text\t'For people'
json\t'One object a line'"
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_needs_command" -l log-level -d 'error, warn, info, debug or trace [default: RUST_LOG, or else info]' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_needs_command" -l nomasq-all-reserved-ranges -d 'Exempt by default all IPv4 ranges that RFCs reserve, not only those of RFC 1918. Counts where no file has nonMasqueradeCIDRs'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_needs_command" -l enable-ipv6 -d 'Program IPv6 too. Counts where no file has enableIPv6'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_needs_command" -l random-fully -d 'Choose the source ports of masqueraded connections at random (masquerade fully-random). Counts where no file has randomFully'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_needs_command" -l metrics-per-cidr -d 'Tell the connections of each configured CIDR in /metrics, as a label'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_needs_command" -s V -l version -d 'Print version'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_needs_command" -f -a "run" -d 'Program the table and keep it in step with the file (the default)'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_needs_command" -f -a "check" -d 'Validate configuration files and print the effective policy; needs no privilege'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_needs_command" -f -a "render" -d 'Print the table as JSON for `nft -j -f -`; needs no privilege'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_needs_command" -f -a "explain" -d 'Say for each destination whether traffic to it is masqueraded, and why'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_needs_command" -f -a "status" -d 'Say what the kernel has, who owns it, and whether it is in step with the file'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_needs_command" -f -a "connections" -d 'Say what became of the node\'s connections'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_needs_command" -f -a "cleanup" -d 'Remove the daemon\'s tables; stop the daemon first'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_needs_command" -f -a "doctor" -d 'Say what is missing or in the way on this host, and what mends it'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_needs_command" -f -a "completions" -d 'Print what completes this command line in a shell; `make install` installs it'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_needs_command" -f -a "man" -d 'Print the manual page, in the language of man(7); `make install` installs it'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand run" -l config -d 'Configuration file, YAML or JSON, or a directory of such files; absent: the defaults. Repeatable: all are merged; in the environment, paths are separated by \':\'' -r -F
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand run" -l to-ports -d 'Source ports of masqueraded TCP, UDP and SCTP connections, such as 1024-29999,32768-65535; empty: as the kernel chooses. Counts where no file has toPorts' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand run" -l resync-interval -d 'How often files and tables are compared without any event; a bare number is seconds, as for ip-masq-agent-v2. Counts where no file has resyncInterval' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand run" -l masq-chain -d 'Name of the chain that decides; another name takes the place of the one before' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand run" -l table -d 'Name of the table; not one of iptables-nft\'s' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand run" -l table-owner -d 'Own the table (flags owner,persist), so that other processes cannot change it: auto, where the kernel (Linux 6.9) and libnftables (1.1.0) can; off, never' -r -f -a "auto\t'Where kernel and libnftables can'
off\t'Never'"
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand run" -l http-address -d 'Where to serve /metrics, /healthz, /readyz and /configuration, or off' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand run" -l log-format -d 'How log lines are written, to standard error' -r -f -a "text\t'For people'
json\t'One object a line'"
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand run" -l log-level -d 'error, warn, info, debug or trace [default: RUST_LOG, or else info]' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand run" -l once -d 'Apply the configuration, read it back, and exit'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand run" -l nomasq-all-reserved-ranges -d 'Exempt by default all IPv4 ranges that RFCs reserve, not only those of RFC 1918. Counts where no file has nonMasqueradeCIDRs'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand run" -l enable-ipv6 -d 'Program IPv6 too. Counts where no file has enableIPv6'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand run" -l random-fully -d 'Choose the source ports of masqueraded connections at random (masquerade fully-random). Counts where no file has randomFully'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand run" -l metrics-per-cidr -d 'Tell the connections of each configured CIDR in /metrics, as a label'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand check" -l format -d 'text: what the configuration means; yaml, json: one file that says the same as all files and flags together' -r -f -a "text\t'For people'
yaml\t'A configuration file'
json\t'A configuration file'"
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand check" -l config -d 'Configuration file, YAML or JSON, or a directory of such files; absent: the defaults. Repeatable: all are merged; in the environment, paths are separated by \':\'' -r -F
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand check" -l to-ports -d 'Source ports of masqueraded TCP, UDP and SCTP connections, such as 1024-29999,32768-65535; empty: as the kernel chooses. Counts where no file has toPorts' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand check" -l resync-interval -d 'How often files and tables are compared without any event; a bare number is seconds, as for ip-masq-agent-v2. Counts where no file has resyncInterval' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand check" -l masq-chain -d 'Name of the chain that decides; another name takes the place of the one before' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand check" -l table -d 'Name of the table; not one of iptables-nft\'s' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand check" -l table-owner -d 'Own the table (flags owner,persist), so that other processes cannot change it: auto, where the kernel (Linux 6.9) and libnftables (1.1.0) can; off, never' -r -f -a "auto\t'Where kernel and libnftables can'
off\t'Never'"
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand check" -l http-address -d 'Where to serve /metrics, /healthz, /readyz and /configuration, or off' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand check" -l log-format -d 'How log lines are written, to standard error' -r -f -a "text\t'For people'
json\t'One object a line'"
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand check" -l log-level -d 'error, warn, info, debug or trace [default: RUST_LOG, or else info]' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand check" -l nomasq-all-reserved-ranges -d 'Exempt by default all IPv4 ranges that RFCs reserve, not only those of RFC 1918. Counts where no file has nonMasqueradeCIDRs'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand check" -l enable-ipv6 -d 'Program IPv6 too. Counts where no file has enableIPv6'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand check" -l random-fully -d 'Choose the source ports of masqueraded connections at random (masquerade fully-random). Counts where no file has randomFully'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand check" -l metrics-per-cidr -d 'Tell the connections of each configured CIDR in /metrics, as a label'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand render" -l config -d 'Configuration file, YAML or JSON, or a directory of such files; absent: the defaults. Repeatable: all are merged; in the environment, paths are separated by \':\'' -r -F
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand render" -l to-ports -d 'Source ports of masqueraded TCP, UDP and SCTP connections, such as 1024-29999,32768-65535; empty: as the kernel chooses. Counts where no file has toPorts' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand render" -l resync-interval -d 'How often files and tables are compared without any event; a bare number is seconds, as for ip-masq-agent-v2. Counts where no file has resyncInterval' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand render" -l masq-chain -d 'Name of the chain that decides; another name takes the place of the one before' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand render" -l table -d 'Name of the table; not one of iptables-nft\'s' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand render" -l table-owner -d 'Own the table (flags owner,persist), so that other processes cannot change it: auto, where the kernel (Linux 6.9) and libnftables (1.1.0) can; off, never' -r -f -a "auto\t'Where kernel and libnftables can'
off\t'Never'"
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand render" -l http-address -d 'Where to serve /metrics, /healthz, /readyz and /configuration, or off' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand render" -l log-format -d 'How log lines are written, to standard error' -r -f -a "text\t'For people'
json\t'One object a line'"
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand render" -l log-level -d 'error, warn, info, debug or trace [default: RUST_LOG, or else info]' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand render" -l nomasq-all-reserved-ranges -d 'Exempt by default all IPv4 ranges that RFCs reserve, not only those of RFC 1918. Counts where no file has nonMasqueradeCIDRs'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand render" -l enable-ipv6 -d 'Program IPv6 too. Counts where no file has enableIPv6'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand render" -l random-fully -d 'Choose the source ports of masqueraded connections at random (masquerade fully-random). Counts where no file has randomFully'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand render" -l metrics-per-cidr -d 'Tell the connections of each configured CIDR in /metrics, as a label'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand render" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand explain" -l from -d 'Source address of the traffic; without it, conditions on the source are named' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand explain" -l format -d 'How the answer is printed' -r -f -a "text\t'For people'
json\t'One JSON document'"
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand explain" -l config -d 'Configuration file, YAML or JSON, or a directory of such files; absent: the defaults. Repeatable: all are merged; in the environment, paths are separated by \':\'' -r -F
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand explain" -l to-ports -d 'Source ports of masqueraded TCP, UDP and SCTP connections, such as 1024-29999,32768-65535; empty: as the kernel chooses. Counts where no file has toPorts' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand explain" -l resync-interval -d 'How often files and tables are compared without any event; a bare number is seconds, as for ip-masq-agent-v2. Counts where no file has resyncInterval' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand explain" -l masq-chain -d 'Name of the chain that decides; another name takes the place of the one before' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand explain" -l table -d 'Name of the table; not one of iptables-nft\'s' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand explain" -l table-owner -d 'Own the table (flags owner,persist), so that other processes cannot change it: auto, where the kernel (Linux 6.9) and libnftables (1.1.0) can; off, never' -r -f -a "auto\t'Where kernel and libnftables can'
off\t'Never'"
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand explain" -l http-address -d 'Where to serve /metrics, /healthz, /readyz and /configuration, or off' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand explain" -l log-format -d 'How log lines are written, to standard error' -r -f -a "text\t'For people'
json\t'One object a line'"
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand explain" -l log-level -d 'error, warn, info, debug or trace [default: RUST_LOG, or else info]' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand explain" -l nomasq-all-reserved-ranges -d 'Exempt by default all IPv4 ranges that RFCs reserve, not only those of RFC 1918. Counts where no file has nonMasqueradeCIDRs'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand explain" -l enable-ipv6 -d 'Program IPv6 too. Counts where no file has enableIPv6'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand explain" -l random-fully -d 'Choose the source ports of masqueraded connections at random (masquerade fully-random). Counts where no file has randomFully'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand explain" -l metrics-per-cidr -d 'Tell the connections of each configured CIDR in /metrics, as a label'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand explain" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand status" -l format -d 'How the answer is printed' -r -f -a "text\t'For people'
json\t'One JSON document'"
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand status" -l config -d 'Configuration file, YAML or JSON, or a directory of such files; absent: the defaults. Repeatable: all are merged; in the environment, paths are separated by \':\'' -r -F
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand status" -l to-ports -d 'Source ports of masqueraded TCP, UDP and SCTP connections, such as 1024-29999,32768-65535; empty: as the kernel chooses. Counts where no file has toPorts' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand status" -l resync-interval -d 'How often files and tables are compared without any event; a bare number is seconds, as for ip-masq-agent-v2. Counts where no file has resyncInterval' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand status" -l masq-chain -d 'Name of the chain that decides; another name takes the place of the one before' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand status" -l table -d 'Name of the table; not one of iptables-nft\'s' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand status" -l table-owner -d 'Own the table (flags owner,persist), so that other processes cannot change it: auto, where the kernel (Linux 6.9) and libnftables (1.1.0) can; off, never' -r -f -a "auto\t'Where kernel and libnftables can'
off\t'Never'"
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand status" -l http-address -d 'Where to serve /metrics, /healthz, /readyz and /configuration, or off' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand status" -l log-format -d 'How log lines are written, to standard error' -r -f -a "text\t'For people'
json\t'One object a line'"
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand status" -l log-level -d 'error, warn, info, debug or trace [default: RUST_LOG, or else info]' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand status" -l nomasq-all-reserved-ranges -d 'Exempt by default all IPv4 ranges that RFCs reserve, not only those of RFC 1918. Counts where no file has nonMasqueradeCIDRs'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand status" -l enable-ipv6 -d 'Program IPv6 too. Counts where no file has enableIPv6'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand status" -l random-fully -d 'Choose the source ports of masqueraded connections at random (masquerade fully-random). Counts where no file has randomFully'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand status" -l metrics-per-cidr -d 'Tell the connections of each configured CIDR in /metrics, as a label'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand connections" -l from -d 'Only those that come from here: an address or a CIDR' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand connections" -l to -d 'Only those that go there, after any translation by a Service' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand connections" -l protocol -d 'Only those of this protocol: tcp, udp, sctp, dccp, udplite, icmp, icmpv6, gre, or a number' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand connections" -l limit -d 'At most so many are listed or ended' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand connections" -l format -d 'text: for people; json: an object, with --watch one a line' -r -f -a "text\t'For people'
json\t'One JSON document'"
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand connections" -l config -d 'Configuration file, YAML or JSON, or a directory of such files; absent: the defaults. Repeatable: all are merged; in the environment, paths are separated by \':\'' -r -F
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand connections" -l to-ports -d 'Source ports of masqueraded TCP, UDP and SCTP connections, such as 1024-29999,32768-65535; empty: as the kernel chooses. Counts where no file has toPorts' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand connections" -l resync-interval -d 'How often files and tables are compared without any event; a bare number is seconds, as for ip-masq-agent-v2. Counts where no file has resyncInterval' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand connections" -l masq-chain -d 'Name of the chain that decides; another name takes the place of the one before' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand connections" -l table -d 'Name of the table; not one of iptables-nft\'s' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand connections" -l table-owner -d 'Own the table (flags owner,persist), so that other processes cannot change it: auto, where the kernel (Linux 6.9) and libnftables (1.1.0) can; off, never' -r -f -a "auto\t'Where kernel and libnftables can'
off\t'Never'"
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand connections" -l http-address -d 'Where to serve /metrics, /healthz, /readyz and /configuration, or off' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand connections" -l log-format -d 'How log lines are written, to standard error' -r -f -a "text\t'For people'
json\t'One object a line'"
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand connections" -l log-level -d 'error, warn, info, debug or trace [default: RUST_LOG, or else info]' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand connections" -l contradicting -d 'List those that contradict the configuration, one a line'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand connections" -l watch -d 'List each connection as it begins, until SIGINT (Ctrl-C), and sum up; with --contradicting only those'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand connections" -l end -d 'End those that contradict the configuration: their entries are deleted, so that their next packets meet the rules anew. Asks first'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand connections" -l yes -d 'End them without asking'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand connections" -l nomasq-all-reserved-ranges -d 'Exempt by default all IPv4 ranges that RFCs reserve, not only those of RFC 1918. Counts where no file has nonMasqueradeCIDRs'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand connections" -l enable-ipv6 -d 'Program IPv6 too. Counts where no file has enableIPv6'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand connections" -l random-fully -d 'Choose the source ports of masqueraded connections at random (masquerade fully-random). Counts where no file has randomFully'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand connections" -l metrics-per-cidr -d 'Tell the connections of each configured CIDR in /metrics, as a label'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand connections" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand cleanup" -l config -d 'Configuration file, YAML or JSON, or a directory of such files; absent: the defaults. Repeatable: all are merged; in the environment, paths are separated by \':\'' -r -F
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand cleanup" -l to-ports -d 'Source ports of masqueraded TCP, UDP and SCTP connections, such as 1024-29999,32768-65535; empty: as the kernel chooses. Counts where no file has toPorts' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand cleanup" -l resync-interval -d 'How often files and tables are compared without any event; a bare number is seconds, as for ip-masq-agent-v2. Counts where no file has resyncInterval' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand cleanup" -l masq-chain -d 'Name of the chain that decides; another name takes the place of the one before' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand cleanup" -l table -d 'Name of the table; not one of iptables-nft\'s' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand cleanup" -l table-owner -d 'Own the table (flags owner,persist), so that other processes cannot change it: auto, where the kernel (Linux 6.9) and libnftables (1.1.0) can; off, never' -r -f -a "auto\t'Where kernel and libnftables can'
off\t'Never'"
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand cleanup" -l http-address -d 'Where to serve /metrics, /healthz, /readyz and /configuration, or off' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand cleanup" -l log-format -d 'How log lines are written, to standard error' -r -f -a "text\t'For people'
json\t'One object a line'"
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand cleanup" -l log-level -d 'error, warn, info, debug or trace [default: RUST_LOG, or else info]' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand cleanup" -l nomasq-all-reserved-ranges -d 'Exempt by default all IPv4 ranges that RFCs reserve, not only those of RFC 1918. Counts where no file has nonMasqueradeCIDRs'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand cleanup" -l enable-ipv6 -d 'Program IPv6 too. Counts where no file has enableIPv6'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand cleanup" -l random-fully -d 'Choose the source ports of masqueraded connections at random (masquerade fully-random). Counts where no file has randomFully'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand cleanup" -l metrics-per-cidr -d 'Tell the connections of each configured CIDR in /metrics, as a label'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand cleanup" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand doctor" -l format -d 'text: a line for each check, its remedy on the next; json: an array of {check, result, finding, remedy}' -r -f -a "text\t'For people'
json\t'One JSON document'"
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand doctor" -l config -d 'Configuration file, YAML or JSON, or a directory of such files; absent: the defaults. Repeatable: all are merged; in the environment, paths are separated by \':\'' -r -F
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand doctor" -l to-ports -d 'Source ports of masqueraded TCP, UDP and SCTP connections, such as 1024-29999,32768-65535; empty: as the kernel chooses. Counts where no file has toPorts' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand doctor" -l resync-interval -d 'How often files and tables are compared without any event; a bare number is seconds, as for ip-masq-agent-v2. Counts where no file has resyncInterval' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand doctor" -l masq-chain -d 'Name of the chain that decides; another name takes the place of the one before' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand doctor" -l table -d 'Name of the table; not one of iptables-nft\'s' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand doctor" -l table-owner -d 'Own the table (flags owner,persist), so that other processes cannot change it: auto, where the kernel (Linux 6.9) and libnftables (1.1.0) can; off, never' -r -f -a "auto\t'Where kernel and libnftables can'
off\t'Never'"
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand doctor" -l http-address -d 'Where to serve /metrics, /healthz, /readyz and /configuration, or off' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand doctor" -l log-format -d 'How log lines are written, to standard error' -r -f -a "text\t'For people'
json\t'One object a line'"
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand doctor" -l log-level -d 'error, warn, info, debug or trace [default: RUST_LOG, or else info]' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand doctor" -l nomasq-all-reserved-ranges -d 'Exempt by default all IPv4 ranges that RFCs reserve, not only those of RFC 1918. Counts where no file has nonMasqueradeCIDRs'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand doctor" -l enable-ipv6 -d 'Program IPv6 too. Counts where no file has enableIPv6'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand doctor" -l random-fully -d 'Choose the source ports of masqueraded connections at random (masquerade fully-random). Counts where no file has randomFully'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand doctor" -l metrics-per-cidr -d 'Tell the connections of each configured CIDR in /metrics, as a label'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand completions" -l config -d 'Configuration file, YAML or JSON, or a directory of such files; absent: the defaults. Repeatable: all are merged; in the environment, paths are separated by \':\'' -r -F
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand completions" -l to-ports -d 'Source ports of masqueraded TCP, UDP and SCTP connections, such as 1024-29999,32768-65535; empty: as the kernel chooses. Counts where no file has toPorts' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand completions" -l resync-interval -d 'How often files and tables are compared without any event; a bare number is seconds, as for ip-masq-agent-v2. Counts where no file has resyncInterval' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand completions" -l masq-chain -d 'Name of the chain that decides; another name takes the place of the one before' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand completions" -l table -d 'Name of the table; not one of iptables-nft\'s' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand completions" -l table-owner -d 'Own the table (flags owner,persist), so that other processes cannot change it: auto, where the kernel (Linux 6.9) and libnftables (1.1.0) can; off, never' -r -f -a "auto\t'Where kernel and libnftables can'
off\t'Never'"
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand completions" -l http-address -d 'Where to serve /metrics, /healthz, /readyz and /configuration, or off' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand completions" -l log-format -d 'How log lines are written, to standard error' -r -f -a "text\t'For people'
json\t'One object a line'"
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand completions" -l log-level -d 'error, warn, info, debug or trace [default: RUST_LOG, or else info]' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand completions" -l nomasq-all-reserved-ranges -d 'Exempt by default all IPv4 ranges that RFCs reserve, not only those of RFC 1918. Counts where no file has nonMasqueradeCIDRs'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand completions" -l enable-ipv6 -d 'Program IPv6 too. Counts where no file has enableIPv6'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand completions" -l random-fully -d 'Choose the source ports of masqueraded connections at random (masquerade fully-random). Counts where no file has randomFully'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand completions" -l metrics-per-cidr -d 'Tell the connections of each configured CIDR in /metrics, as a label'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand completions" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand man" -l config -d 'Configuration file, YAML or JSON, or a directory of such files; absent: the defaults. Repeatable: all are merged; in the environment, paths are separated by \':\'' -r -F
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand man" -l to-ports -d 'Source ports of masqueraded TCP, UDP and SCTP connections, such as 1024-29999,32768-65535; empty: as the kernel chooses. Counts where no file has toPorts' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand man" -l resync-interval -d 'How often files and tables are compared without any event; a bare number is seconds, as for ip-masq-agent-v2. Counts where no file has resyncInterval' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand man" -l masq-chain -d 'Name of the chain that decides; another name takes the place of the one before' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand man" -l table -d 'Name of the table; not one of iptables-nft\'s' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand man" -l table-owner -d 'Own the table (flags owner,persist), so that other processes cannot change it: auto, where the kernel (Linux 6.9) and libnftables (1.1.0) can; off, never' -r -f -a "auto\t'Where kernel and libnftables can'
off\t'Never'"
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand man" -l http-address -d 'Where to serve /metrics, /healthz, /readyz and /configuration, or off' -r -f
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand man" -l log-format -d 'How log lines are written, to standard error' -r -f -a "text\t'For people'
json\t'One object a line'"
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand man" -l log-level -d 'error, warn, info, debug or trace [default: RUST_LOG, or else info]' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand man" -l nomasq-all-reserved-ranges -d 'Exempt by default all IPv4 ranges that RFCs reserve, not only those of RFC 1918. Counts where no file has nonMasqueradeCIDRs'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand man" -l enable-ipv6 -d 'Program IPv6 too. Counts where no file has enableIPv6'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand man" -l random-fully -d 'Choose the source ports of masqueraded connections at random (masquerade fully-random). Counts where no file has randomFully'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand man" -l metrics-per-cidr -d 'Tell the connections of each configured CIDR in /metrics, as a label'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand man" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand help; and not __fish_seen_subcommand_from run check render explain status connections cleanup doctor completions man help" -f -a "run" -d 'Program the table and keep it in step with the file (the default)'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand help; and not __fish_seen_subcommand_from run check render explain status connections cleanup doctor completions man help" -f -a "check" -d 'Validate configuration files and print the effective policy; needs no privilege'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand help; and not __fish_seen_subcommand_from run check render explain status connections cleanup doctor completions man help" -f -a "render" -d 'Print the table as JSON for `nft -j -f -`; needs no privilege'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand help; and not __fish_seen_subcommand_from run check render explain status connections cleanup doctor completions man help" -f -a "explain" -d 'Say for each destination whether traffic to it is masqueraded, and why'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand help; and not __fish_seen_subcommand_from run check render explain status connections cleanup doctor completions man help" -f -a "status" -d 'Say what the kernel has, who owns it, and whether it is in step with the file'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand help; and not __fish_seen_subcommand_from run check render explain status connections cleanup doctor completions man help" -f -a "connections" -d 'Say what became of the node\'s connections'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand help; and not __fish_seen_subcommand_from run check render explain status connections cleanup doctor completions man help" -f -a "cleanup" -d 'Remove the daemon\'s tables; stop the daemon first'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand help; and not __fish_seen_subcommand_from run check render explain status connections cleanup doctor completions man help" -f -a "doctor" -d 'Say what is missing or in the way on this host, and what mends it'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand help; and not __fish_seen_subcommand_from run check render explain status connections cleanup doctor completions man help" -f -a "completions" -d 'Print what completes this command line in a shell; `make install` installs it'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand help; and not __fish_seen_subcommand_from run check render explain status connections cleanup doctor completions man help" -f -a "man" -d 'Print the manual page, in the language of man(7); `make install` installs it'
complete -c non-masquerade-daemon -n "__fish_non_masquerade_daemon_using_subcommand help; and not __fish_seen_subcommand_from run check render explain status connections cleanup doctor completions man help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
