# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_wanpool_global_optspecs
    string join \n j/json p/pretty n/dry-run q/quiet v/verbose w/wait= hook config= state-dir= generate= h/help V/version
end

function __fish_wanpool_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_wanpool_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_wanpool_using_subcommand
    set -l cmd (__fish_wanpool_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c wanpool -n "__fish_wanpool_needs_command" -s w -l wait -d 'Wait this long for another run to end; 0: fail at once' -r
complete -c wanpool -n "__fish_wanpool_needs_command" -l config -d 'The configuration' -r -F
complete -c wanpool -n "__fish_wanpool_needs_command" -l state-dir -d 'The folder of the pool files' -r -f -a "(__fish_complete_directories)"
complete -c wanpool -n "__fish_wanpool_needs_command" -l generate -d 'Print the man page or a shell\'s completions, for packagers' -r -f -a "man\t''
bash\t''
zsh\t''
fish\t''"
complete -c wanpool -n "__fish_wanpool_needs_command" -s j -l json -d 'Print JSON on stdout, nothing else on it'
complete -c wanpool -n "__fish_wanpool_needs_command" -s p -l pretty -d 'Indent the JSON'
complete -c wanpool -n "__fish_wanpool_needs_command" -s n -l dry-run -d 'Change nothing; print each step as the command that would do it'
complete -c wanpool -n "__fish_wanpool_needs_command" -s q -l quiet -d 'Print errors only'
complete -c wanpool -n "__fish_wanpool_needs_command" -s v -l verbose -d 'Print each step as it is done'
complete -c wanpool -n "__fish_wanpool_needs_command" -l hook -d 'For hooks: what is none of ours, or has overtaken the hook, is no error'
complete -c wanpool -n "__fish_wanpool_needs_command" -s h -l help -d 'Print help'
complete -c wanpool -n "__fish_wanpool_needs_command" -s V -l version -d 'Print version'
complete -c wanpool -n "__fish_wanpool_needs_command" -f -a "scan" -d 'List the clients heard behind the LAN devices'
complete -c wanpool -n "__fish_wanpool_needs_command" -f -a "assign" -d 'Give clients a pool; without CLIENT, all new ones that scan finds'
complete -c wanpool -n "__fish_wanpool_needs_command" -f -a "pools" -d 'Show the pools, one pool\'s clients, or the way of one client\'s packets'
complete -c wanpool -n "__fish_wanpool_needs_command" -f -a "failover" -d 'Take an uplink out of service'
complete -c wanpool -n "__fish_wanpool_needs_command" -f -a "restore" -d 'Put one uplink back in service, or make everything as config and pool files say'
complete -c wanpool -n "__fish_wanpool_needs_command" -f -a "multipath" -d 'Spread everything else, per flow, over all uplinks in service'
complete -c wanpool -n "__fish_wanpool_needs_command" -f -a "flush" -d 'Take the whole slice out of the kernel; the files stay'
complete -c wanpool -n "__fish_wanpool_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c wanpool -n "__fish_wanpool_using_subcommand scan" -l dev -d 'Only those behind this LAN device' -r
complete -c wanpool -n "__fish_wanpool_using_subcommand scan" -l from -d 'Read FILE instead: in the form of /proc/net/arp, or one address a line; - is stdin' -r -F
complete -c wanpool -n "__fish_wanpool_using_subcommand scan" -s w -l wait -d 'Wait this long for another run to end; 0: fail at once' -r
complete -c wanpool -n "__fish_wanpool_using_subcommand scan" -l config -d 'The configuration' -r -F
complete -c wanpool -n "__fish_wanpool_using_subcommand scan" -l state-dir -d 'The folder of the pool files' -r -f -a "(__fish_complete_directories)"
complete -c wanpool -n "__fish_wanpool_using_subcommand scan" -l new -d 'Only those in no pool, one address a line'
complete -c wanpool -n "__fish_wanpool_using_subcommand scan" -s j -l json -d 'Print JSON on stdout, nothing else on it'
complete -c wanpool -n "__fish_wanpool_using_subcommand scan" -s p -l pretty -d 'Indent the JSON'
complete -c wanpool -n "__fish_wanpool_using_subcommand scan" -s n -l dry-run -d 'Change nothing; print each step as the command that would do it'
complete -c wanpool -n "__fish_wanpool_using_subcommand scan" -s q -l quiet -d 'Print errors only'
complete -c wanpool -n "__fish_wanpool_using_subcommand scan" -s v -l verbose -d 'Print each step as it is done'
complete -c wanpool -n "__fish_wanpool_using_subcommand scan" -l hook -d 'For hooks: what is none of ours, or has overtaken the hook, is no error'
complete -c wanpool -n "__fish_wanpool_using_subcommand scan" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c wanpool -n "__fish_wanpool_using_subcommand assign" -l from -d 'And those in FILE: in the form of /proc/net/arp, or one address a line; - is stdin' -r -F
complete -c wanpool -n "__fish_wanpool_using_subcommand assign" -l pool -d 'Put or move them into this uplink\'s pool' -r
complete -c wanpool -n "__fish_wanpool_using_subcommand assign" -s w -l wait -d 'Wait this long for another run to end; 0: fail at once' -r
complete -c wanpool -n "__fish_wanpool_using_subcommand assign" -l config -d 'The configuration' -r -F
complete -c wanpool -n "__fish_wanpool_using_subcommand assign" -l state-dir -d 'The folder of the pool files' -r -f -a "(__fish_complete_directories)"
complete -c wanpool -n "__fish_wanpool_using_subcommand assign" -l release -d 'Take them out of every pool'
complete -c wanpool -n "__fish_wanpool_using_subcommand assign" -l prune -d 'Release those that scan no longer sees: none that is pinned, or has a live flow'
complete -c wanpool -n "__fish_wanpool_using_subcommand assign" -l rebalance -d 'Level the pools to their weights with the fewest moves, those without a live flow first'
complete -c wanpool -n "__fish_wanpool_using_subcommand assign" -s j -l json -d 'Print JSON on stdout, nothing else on it'
complete -c wanpool -n "__fish_wanpool_using_subcommand assign" -s p -l pretty -d 'Indent the JSON'
complete -c wanpool -n "__fish_wanpool_using_subcommand assign" -s n -l dry-run -d 'Change nothing; print each step as the command that would do it'
complete -c wanpool -n "__fish_wanpool_using_subcommand assign" -s q -l quiet -d 'Print errors only'
complete -c wanpool -n "__fish_wanpool_using_subcommand assign" -s v -l verbose -d 'Print each step as it is done'
complete -c wanpool -n "__fish_wanpool_using_subcommand assign" -l hook -d 'For hooks: what is none of ours, or has overtaken the hook, is no error'
complete -c wanpool -n "__fish_wanpool_using_subcommand assign" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c wanpool -n "__fish_wanpool_using_subcommand pools" -s w -l wait -d 'Wait this long for another run to end; 0: fail at once' -r
complete -c wanpool -n "__fish_wanpool_using_subcommand pools" -l config -d 'The configuration' -r -F
complete -c wanpool -n "__fish_wanpool_using_subcommand pools" -l state-dir -d 'The folder of the pool files' -r -f -a "(__fish_complete_directories)"
complete -c wanpool -n "__fish_wanpool_using_subcommand pools" -l check -d 'Compare kernel and files; print the steps that would mend what differs, and what else would keep clients from being served'
complete -c wanpool -n "__fish_wanpool_using_subcommand pools" -l metrics -d 'Print metrics for the textfile collector of node_exporter'
complete -c wanpool -n "__fish_wanpool_using_subcommand pools" -s j -l json -d 'Print JSON on stdout, nothing else on it'
complete -c wanpool -n "__fish_wanpool_using_subcommand pools" -s p -l pretty -d 'Indent the JSON'
complete -c wanpool -n "__fish_wanpool_using_subcommand pools" -s n -l dry-run -d 'Change nothing; print each step as the command that would do it'
complete -c wanpool -n "__fish_wanpool_using_subcommand pools" -s q -l quiet -d 'Print errors only'
complete -c wanpool -n "__fish_wanpool_using_subcommand pools" -s v -l verbose -d 'Print each step as it is done'
complete -c wanpool -n "__fish_wanpool_using_subcommand pools" -l hook -d 'For hooks: what is none of ours, or has overtaken the hook, is no error'
complete -c wanpool -n "__fish_wanpool_using_subcommand pools" -s h -l help -d 'Print help'
complete -c wanpool -n "__fish_wanpool_using_subcommand failover" -l to -d 'Send its pool to this uplink alone' -r
complete -c wanpool -n "__fish_wanpool_using_subcommand failover" -s w -l wait -d 'Wait this long for another run to end; 0: fail at once' -r
complete -c wanpool -n "__fish_wanpool_using_subcommand failover" -l config -d 'The configuration' -r -F
complete -c wanpool -n "__fish_wanpool_using_subcommand failover" -l state-dir -d 'The folder of the pool files' -r -f -a "(__fish_complete_directories)"
complete -c wanpool -n "__fish_wanpool_using_subcommand failover" -l probe -d 'Ask by each uplink, in service or not, whether its targets answer: dead for some runs in a row is out, sound for some is back'
complete -c wanpool -n "__fish_wanpool_using_subcommand failover" -s j -l json -d 'Print JSON on stdout, nothing else on it'
complete -c wanpool -n "__fish_wanpool_using_subcommand failover" -s p -l pretty -d 'Indent the JSON'
complete -c wanpool -n "__fish_wanpool_using_subcommand failover" -s n -l dry-run -d 'Change nothing; print each step as the command that would do it'
complete -c wanpool -n "__fish_wanpool_using_subcommand failover" -s q -l quiet -d 'Print errors only'
complete -c wanpool -n "__fish_wanpool_using_subcommand failover" -s v -l verbose -d 'Print each step as it is done'
complete -c wanpool -n "__fish_wanpool_using_subcommand failover" -l hook -d 'For hooks: what is none of ours, or has overtaken the hook, is no error'
complete -c wanpool -n "__fish_wanpool_using_subcommand failover" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c wanpool -n "__fish_wanpool_using_subcommand restore" -l via -d 'Its gateway, as DHCP gave it' -r
complete -c wanpool -n "__fish_wanpool_using_subcommand restore" -s w -l wait -d 'Wait this long for another run to end; 0: fail at once' -r
complete -c wanpool -n "__fish_wanpool_using_subcommand restore" -l config -d 'The configuration' -r -F
complete -c wanpool -n "__fish_wanpool_using_subcommand restore" -l state-dir -d 'The folder of the pool files' -r -f -a "(__fish_complete_directories)"
complete -c wanpool -n "__fish_wanpool_using_subcommand restore" -s j -l json -d 'Print JSON on stdout, nothing else on it'
complete -c wanpool -n "__fish_wanpool_using_subcommand restore" -s p -l pretty -d 'Indent the JSON'
complete -c wanpool -n "__fish_wanpool_using_subcommand restore" -s n -l dry-run -d 'Change nothing; print each step as the command that would do it'
complete -c wanpool -n "__fish_wanpool_using_subcommand restore" -s q -l quiet -d 'Print errors only'
complete -c wanpool -n "__fish_wanpool_using_subcommand restore" -s v -l verbose -d 'Print each step as it is done'
complete -c wanpool -n "__fish_wanpool_using_subcommand restore" -l hook -d 'For hooks: what is none of ours, or has overtaken the hook, is no error'
complete -c wanpool -n "__fish_wanpool_using_subcommand restore" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c wanpool -n "__fish_wanpool_using_subcommand multipath" -s w -l wait -d 'Wait this long for another run to end; 0: fail at once' -r
complete -c wanpool -n "__fish_wanpool_using_subcommand multipath" -l config -d 'The configuration' -r -F
complete -c wanpool -n "__fish_wanpool_using_subcommand multipath" -l state-dir -d 'The folder of the pool files' -r -f -a "(__fish_complete_directories)"
complete -c wanpool -n "__fish_wanpool_using_subcommand multipath" -s j -l json -d 'Print JSON on stdout, nothing else on it'
complete -c wanpool -n "__fish_wanpool_using_subcommand multipath" -s p -l pretty -d 'Indent the JSON'
complete -c wanpool -n "__fish_wanpool_using_subcommand multipath" -s n -l dry-run -d 'Change nothing; print each step as the command that would do it'
complete -c wanpool -n "__fish_wanpool_using_subcommand multipath" -s q -l quiet -d 'Print errors only'
complete -c wanpool -n "__fish_wanpool_using_subcommand multipath" -s v -l verbose -d 'Print each step as it is done'
complete -c wanpool -n "__fish_wanpool_using_subcommand multipath" -l hook -d 'For hooks: what is none of ours, or has overtaken the hook, is no error'
complete -c wanpool -n "__fish_wanpool_using_subcommand multipath" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c wanpool -n "__fish_wanpool_using_subcommand flush" -s w -l wait -d 'Wait this long for another run to end; 0: fail at once' -r
complete -c wanpool -n "__fish_wanpool_using_subcommand flush" -l config -d 'The configuration' -r -F
complete -c wanpool -n "__fish_wanpool_using_subcommand flush" -l state-dir -d 'The folder of the pool files' -r -f -a "(__fish_complete_directories)"
complete -c wanpool -n "__fish_wanpool_using_subcommand flush" -s j -l json -d 'Print JSON on stdout, nothing else on it'
complete -c wanpool -n "__fish_wanpool_using_subcommand flush" -s p -l pretty -d 'Indent the JSON'
complete -c wanpool -n "__fish_wanpool_using_subcommand flush" -s n -l dry-run -d 'Change nothing; print each step as the command that would do it'
complete -c wanpool -n "__fish_wanpool_using_subcommand flush" -s q -l quiet -d 'Print errors only'
complete -c wanpool -n "__fish_wanpool_using_subcommand flush" -s v -l verbose -d 'Print each step as it is done'
complete -c wanpool -n "__fish_wanpool_using_subcommand flush" -l hook -d 'For hooks: what is none of ours, or has overtaken the hook, is no error'
complete -c wanpool -n "__fish_wanpool_using_subcommand flush" -s h -l help -d 'Print help'
complete -c wanpool -n "__fish_wanpool_using_subcommand help; and not __fish_seen_subcommand_from scan assign pools failover restore multipath flush help" -f -a "scan" -d 'List the clients heard behind the LAN devices'
complete -c wanpool -n "__fish_wanpool_using_subcommand help; and not __fish_seen_subcommand_from scan assign pools failover restore multipath flush help" -f -a "assign" -d 'Give clients a pool; without CLIENT, all new ones that scan finds'
complete -c wanpool -n "__fish_wanpool_using_subcommand help; and not __fish_seen_subcommand_from scan assign pools failover restore multipath flush help" -f -a "pools" -d 'Show the pools, one pool\'s clients, or the way of one client\'s packets'
complete -c wanpool -n "__fish_wanpool_using_subcommand help; and not __fish_seen_subcommand_from scan assign pools failover restore multipath flush help" -f -a "failover" -d 'Take an uplink out of service'
complete -c wanpool -n "__fish_wanpool_using_subcommand help; and not __fish_seen_subcommand_from scan assign pools failover restore multipath flush help" -f -a "restore" -d 'Put one uplink back in service, or make everything as config and pool files say'
complete -c wanpool -n "__fish_wanpool_using_subcommand help; and not __fish_seen_subcommand_from scan assign pools failover restore multipath flush help" -f -a "multipath" -d 'Spread everything else, per flow, over all uplinks in service'
complete -c wanpool -n "__fish_wanpool_using_subcommand help; and not __fish_seen_subcommand_from scan assign pools failover restore multipath flush help" -f -a "flush" -d 'Take the whole slice out of the kernel; the files stay'
complete -c wanpool -n "__fish_wanpool_using_subcommand help; and not __fish_seen_subcommand_from scan assign pools failover restore multipath flush help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
