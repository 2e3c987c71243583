# fish completion of idxdctl
complete -c idxdctl -n __fish_use_subcommand -f -a assert -d 'Fail unless the device was really used: for the end of a CI job.'
complete -c idxdctl -n '__fish_seen_subcommand_from assert' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from assert' -l min-bytes
complete -c idxdctl -n '__fish_seen_subcommand_from assert' -l min-ops
complete -c idxdctl -n '__fish_seen_subcommand_from assert' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from assert' -l wq
complete -c idxdctl -n '__fish_seen_subcommand_from assert' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a bus-reset -d 'Warm or cold reset: as an FLR, and ends such halts (admin).'
complete -c idxdctl -n '__fish_seen_subcommand_from bus-reset' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from bus-reset' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from bus-reset' -l type
complete -c idxdctl -n '__fish_seen_subcommand_from bus-reset' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a clients -d 'Who is connected: process, user, PASID, work queues, buffers.'
complete -c idxdctl -n '__fish_seen_subcommand_from clients' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from clients' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from clients' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a completion -d 'Print a completion file for a shell.'
complete -c idxdctl -n '__fish_seen_subcommand_from completion' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a config-device -d 'Write a device'\''s attributes.'
complete -c idxdctl -n '__fish_seen_subcommand_from config-device' -l event-log-size
complete -c idxdctl -n '__fish_seen_subcommand_from config-device' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from config-device' -l read-buffer-limit
complete -c idxdctl -n '__fish_seen_subcommand_from config-device' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from config-device' -l token-limit
complete -c idxdctl -n '__fish_seen_subcommand_from config-device' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a config-engine -d 'Put an engine into a group: in force when the device is enabled the next time.'
complete -c idxdctl -n '__fish_seen_subcommand_from config-engine' -l group-id
complete -c idxdctl -n '__fish_seen_subcommand_from config-engine' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from config-engine' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from config-engine' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a config-group -d 'Write a group'\''s attributes: they reach the hardware when the device is enabled.'
complete -c idxdctl -n '__fish_seen_subcommand_from config-group' -l batch-progress-limit
complete -c idxdctl -n '__fish_seen_subcommand_from config-group' -l desc-progress-limit
complete -c idxdctl -n '__fish_seen_subcommand_from config-group' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from config-group' -l read-buffers-allowed
complete -c idxdctl -n '__fish_seen_subcommand_from config-group' -l read-buffers-reserved
complete -c idxdctl -n '__fish_seen_subcommand_from config-group' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from config-group' -l traffic-class-a
complete -c idxdctl -n '__fish_seen_subcommand_from config-group' -l traffic-class-b
complete -c idxdctl -n '__fish_seen_subcommand_from config-group' -l use-read-buffer-limit
complete -c idxdctl -n '__fish_seen_subcommand_from config-group' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a config-wq -d 'Write a work queue'\''s attributes, all of them or none.'
complete -c idxdctl -n '__fish_seen_subcommand_from config-wq' -l ats-disable
complete -c idxdctl -n '__fish_seen_subcommand_from config-wq' -l block-on-fault
complete -c idxdctl -n '__fish_seen_subcommand_from config-wq' -l driver-name
complete -c idxdctl -n '__fish_seen_subcommand_from config-wq' -l group-id
complete -c idxdctl -n '__fish_seen_subcommand_from config-wq' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from config-wq' -l max-batch-size
complete -c idxdctl -n '__fish_seen_subcommand_from config-wq' -l max-transfer-size
complete -c idxdctl -n '__fish_seen_subcommand_from config-wq' -l mode
complete -c idxdctl -n '__fish_seen_subcommand_from config-wq' -l name
complete -c idxdctl -n '__fish_seen_subcommand_from config-wq' -l op-config
complete -c idxdctl -n '__fish_seen_subcommand_from config-wq' -l priority
complete -c idxdctl -n '__fish_seen_subcommand_from config-wq' -l prs-disable
complete -c idxdctl -n '__fish_seen_subcommand_from config-wq' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from config-wq' -l threshold
complete -c idxdctl -n '__fish_seen_subcommand_from config-wq' -l type
complete -c idxdctl -n '__fish_seen_subcommand_from config-wq' -l wq-size
complete -c idxdctl -n '__fish_seen_subcommand_from config-wq' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a copy -d 'Copy a file through the device with many client processes.'
complete -c idxdctl -n '__fish_seen_subcommand_from copy' -l chunk
complete -c idxdctl -n '__fish_seen_subcommand_from copy' -l depth
complete -c idxdctl -n '__fish_seen_subcommand_from copy' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from copy' -l procs
complete -c idxdctl -n '__fish_seen_subcommand_from copy' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from copy' -l timeout
complete -c idxdctl -n '__fish_seen_subcommand_from copy' -l verify
complete -c idxdctl -n '__fish_seen_subcommand_from copy' -l wq
complete -c idxdctl -n '__fish_seen_subcommand_from copy' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a crc -d 'CRC-32C of a file, computed by the device.'
complete -c idxdctl -n '__fish_seen_subcommand_from crc' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from crc' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from crc' -l timeout
complete -c idxdctl -n '__fish_seen_subcommand_from crc' -l wq
complete -c idxdctl -n '__fish_seen_subcommand_from crc' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a disable-device -d 'Disable devices, and their work queues before.'
complete -c idxdctl -n '__fish_seen_subcommand_from disable-device' -l force
complete -c idxdctl -n '__fish_seen_subcommand_from disable-device' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from disable-device' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from disable-device' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a disable-wq -d 'Disable work queues; what they had accepted is finished first.'
complete -c idxdctl -n '__fish_seen_subcommand_from disable-wq' -l force
complete -c idxdctl -n '__fish_seen_subcommand_from disable-wq' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from disable-wq' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from disable-wq' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a doctor -d 'Check this machine and the daemon; say what to do about what is wrong.'
complete -c idxdctl -n '__fish_seen_subcommand_from doctor' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from doctor' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from doctor' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a enable-device -d 'Enable devices: their configuration is written and checked.'
complete -c idxdctl -n '__fish_seen_subcommand_from enable-device' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from enable-device' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from enable-device' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a enable-wq -d 'Enable work queues.'
complete -c idxdctl -n '__fish_seen_subcommand_from enable-wq' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from enable-wq' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from enable-wq' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a explain -d 'Say what a descriptor, a completion record or a status means, which rule refuses it, and what to do.'
complete -c idxdctl -n '__fish_seen_subcommand_from explain' -l bof
complete -c idxdctl -n '__fish_seen_subcommand_from explain' -l checks
complete -c idxdctl -n '__fish_seen_subcommand_from explain' -l in-batch
complete -c idxdctl -n '__fish_seen_subcommand_from explain' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from explain' -l max-batch
complete -c idxdctl -n '__fish_seen_subcommand_from explain' -l max-transfer
complete -c idxdctl -n '__fish_seen_subcommand_from explain' -l profile
complete -c idxdctl -n '__fish_seen_subcommand_from explain' -l read-only
complete -c idxdctl -n '__fish_seen_subcommand_from explain' -l record
complete -c idxdctl -n '__fish_seen_subcommand_from explain' -l shared
complete -c idxdctl -n '__fish_seen_subcommand_from explain' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from explain' -l status
complete -c idxdctl -n '__fish_seen_subcommand_from explain' -l unmapped
complete -c idxdctl -n '__fish_seen_subcommand_from explain' -l wq
complete -c idxdctl -n '__fish_seen_subcommand_from explain' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a flr -d 'Function-level reset of a device (admin).'
complete -c idxdctl -n '__fish_seen_subcommand_from flr' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from flr' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from flr' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a halt -d 'Halt a device, as after a fatal error (admin).'
complete -c idxdctl -n '__fish_seen_subcommand_from halt' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from halt' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from halt' -l type
complete -c idxdctl -n '__fish_seen_subcommand_from halt' -l wait
complete -c idxdctl -n '__fish_seen_subcommand_from halt' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a insert -d 'Put a removed device back: new, and disabled (admin).'
complete -c idxdctl -n '__fish_seen_subcommand_from insert' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from insert' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from insert' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a kick -d 'End a client'\''s session: its portals stop at once, its buffers are given back (admin).'
complete -c idxdctl -n '__fish_seen_subcommand_from kick' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from kick' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from kick' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a list -d 'Devices, groups, work queues and engines; with --json as accel-config prints them.'
complete -c idxdctl -n '__fish_seen_subcommand_from list' -l device
complete -c idxdctl -n '__fish_seen_subcommand_from list' -l devices
complete -c idxdctl -n '__fish_seen_subcommand_from list' -l engine
complete -c idxdctl -n '__fish_seen_subcommand_from list' -l engines
complete -c idxdctl -n '__fish_seen_subcommand_from list' -l group
complete -c idxdctl -n '__fish_seen_subcommand_from list' -l groups
complete -c idxdctl -n '__fish_seen_subcommand_from list' -l idle
complete -c idxdctl -n '__fish_seen_subcommand_from list' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from list' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from list' -l workqueue
complete -c idxdctl -n '__fish_seen_subcommand_from list' -l workqueues
complete -c idxdctl -n '__fish_seen_subcommand_from list' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a load-config -d 'Load a configuration file of accel-config: checked whole, then applied, or not at all.'
complete -c idxdctl -n '__fish_seen_subcommand_from load-config' -l config-file
complete -c idxdctl -n '__fish_seen_subcommand_from load-config' -l dry-run
complete -c idxdctl -n '__fish_seen_subcommand_from load-config' -l enable
complete -c idxdctl -n '__fish_seen_subcommand_from load-config' -l force
complete -c idxdctl -n '__fish_seen_subcommand_from load-config' -l forced
complete -c idxdctl -n '__fish_seen_subcommand_from load-config' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from load-config' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from load-config' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a metrics -d 'Counters in Prometheus'\''s text format.'
complete -c idxdctl -n '__fish_seen_subcommand_from metrics' -l listen
complete -c idxdctl -n '__fish_seen_subcommand_from metrics' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from metrics' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a ping -d 'No-op round trips with percentiles.'
complete -c idxdctl -n '__fish_seen_subcommand_from ping' -l count
complete -c idxdctl -n '__fish_seen_subcommand_from ping' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from ping' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from ping' -l timeout
complete -c idxdctl -n '__fish_seen_subcommand_from ping' -l wq
complete -c idxdctl -n '__fish_seen_subcommand_from ping' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a regs -d 'Registers of a device (admin).'
complete -c idxdctl -n '__fish_seen_subcommand_from regs' -l decode
complete -c idxdctl -n '__fish_seen_subcommand_from regs' -l device
complete -c idxdctl -n '__fish_seen_subcommand_from regs' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from regs' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from regs' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a reload -d 'Make the daemon read its settings again; what only a restart changes is named (admin).'
complete -c idxdctl -n '__fish_seen_subcommand_from reload' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from reload' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from reload' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a remove -d 'Take a device away without warning (admin).'
complete -c idxdctl -n '__fish_seen_subcommand_from remove' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from remove' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from remove' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a reset -d 'Reset a device: disabled, and its configuration forgotten.'
complete -c idxdctl -n '__fish_seen_subcommand_from reset' -l force
complete -c idxdctl -n '__fish_seen_subcommand_from reset' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from reset' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from reset' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a revoke -d 'Revoke interrupt handles of a device (admin).'
complete -c idxdctl -n '__fish_seen_subcommand_from revoke' -l handle
complete -c idxdctl -n '__fish_seen_subcommand_from revoke' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from revoke' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from revoke' -l wq
complete -c idxdctl -n '__fish_seen_subcommand_from revoke' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a save-config -d 'Save the configuration in accel-config'\''s format.'
complete -c idxdctl -n '__fish_seen_subcommand_from save-config' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from save-config' -l saved-file
complete -c idxdctl -n '__fish_seen_subcommand_from save-config' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from save-config' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a stats -d 'Counters of the device, its work queues, its clients and the interrupt process.'
complete -c idxdctl -n '__fish_seen_subcommand_from stats' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from stats' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from stats' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a stress -d 'Work queues under load; every byte and every count is checked. Kills, revokes and halts disturb every client there is.'
complete -c idxdctl -n '__fish_seen_subcommand_from stress' -l clients
complete -c idxdctl -n '__fish_seen_subcommand_from stress' -l descriptors
complete -c idxdctl -n '__fish_seen_subcommand_from stress' -l disable-wqs
complete -c idxdctl -n '__fish_seen_subcommand_from stress' -l every
complete -c idxdctl -n '__fish_seen_subcommand_from stress' -l faults
complete -c idxdctl -n '__fish_seen_subcommand_from stress' -l halts
complete -c idxdctl -n '__fish_seen_subcommand_from stress' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from stress' -l kill-clients
complete -c idxdctl -n '__fish_seen_subcommand_from stress' -l kill-irq
complete -c idxdctl -n '__fish_seen_subcommand_from stress' -l revokes
complete -c idxdctl -n '__fish_seen_subcommand_from stress' -l seconds
complete -c idxdctl -n '__fish_seen_subcommand_from stress' -l seed
complete -c idxdctl -n '__fish_seen_subcommand_from stress' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from stress' -l timeout
complete -c idxdctl -n '__fish_seen_subcommand_from stress' -l wq
complete -c idxdctl -n '__fish_seen_subcommand_from stress' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a swerr -d 'The last software error of each device, as the driver saved it, decoded.'
complete -c idxdctl -n '__fish_seen_subcommand_from swerr' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from swerr' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from swerr' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a top -d 'Rates of work queues and clients, live; ends with Ctrl-C.'
complete -c idxdctl -n '__fish_seen_subcommand_from top' -l interval
complete -c idxdctl -n '__fish_seen_subcommand_from top' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from top' -l once
complete -c idxdctl -n '__fish_seen_subcommand_from top' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from top' -l help
