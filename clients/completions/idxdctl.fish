# fish completion of idxdctl
complete -c idxdctl -n __fish_use_subcommand -f -a assert -d 'Fail unless the device was really used: for the end of a CI job.'
complete -c idxdctl -n '__fish_seen_subcommand_from assert' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from assert' -l min-bytes
complete -c idxdctl -n '__fish_seen_subcommand_from assert' -l min-ops
complete -c idxdctl -n '__fish_seen_subcommand_from assert' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from assert' -l wq
complete -c idxdctl -n '__fish_seen_subcommand_from assert' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a batch -d 'Carry out the descriptors of a file; exit code 1 when one fails. Files are written when all succeeded.'
complete -c idxdctl -n '__fish_seen_subcommand_from batch' -l dry-run
complete -c idxdctl -n '__fish_seen_subcommand_from batch' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from batch' -l separately
complete -c idxdctl -n '__fish_seen_subcommand_from batch' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from batch' -l timeout
complete -c idxdctl -n '__fish_seen_subcommand_from batch' -l wq
complete -c idxdctl -n '__fish_seen_subcommand_from batch' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a bench -d 'Throughput and round trips of one work queue from Python, each beside memcpy over the same memory.'
complete -c idxdctl -n '__fish_seen_subcommand_from bench' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from bench' -l rounds
complete -c idxdctl -n '__fish_seen_subcommand_from bench' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from bench' -l wq
complete -c idxdctl -n '__fish_seen_subcommand_from bench' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a bus-reset -d 'Warm or cold reset: as an FLR, and ends such halts (admin).'
complete -c idxdctl -n '__fish_seen_subcommand_from bus-reset' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from bus-reset' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from bus-reset' -l type
complete -c idxdctl -n '__fish_seen_subcommand_from bus-reset' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a cflush -d 'Map a file and have its pages flushed from the caches, by Cache Flush; its contents stay.'
complete -c idxdctl -n '__fish_seen_subcommand_from cflush' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from cflush' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from cflush' -l timeout
complete -c idxdctl -n '__fish_seen_subcommand_from cflush' -l wq
complete -c idxdctl -n '__fish_seen_subcommand_from cflush' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a clients -d 'Who is connected: process, user, PASID, work queues, buffers.'
complete -c idxdctl -n '__fish_seen_subcommand_from clients' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from clients' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from clients' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a close-window -d 'Close an inter-domain window of any client (admin): who uses it is cut off with status 0x2e.'
complete -c idxdctl -n '__fish_seen_subcommand_from close-window' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from close-window' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from close-window' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a compare -d 'Compare two files, by Compare, or a file with a pattern, by Compare Pattern; exit code 1 when they differ.'
complete -c idxdctl -n '__fish_seen_subcommand_from compare' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from compare' -l pattern
complete -c idxdctl -n '__fish_seen_subcommand_from compare' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from compare' -l timeout
complete -c idxdctl -n '__fish_seen_subcommand_from compare' -l wq
complete -c idxdctl -n '__fish_seen_subcommand_from compare' -l help
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
complete -c idxdctl -n __fish_use_subcommand -f -a crc -d 'CRC of a file, computed by the device; with --copy-to it is copied on the way.'
complete -c idxdctl -n '__fish_seen_subcommand_from crc' -l block-size
complete -c idxdctl -n '__fish_seen_subcommand_from crc' -l bypass-inversion
complete -c idxdctl -n '__fish_seen_subcommand_from crc' -l bypass-reflection
complete -c idxdctl -n '__fish_seen_subcommand_from crc' -l copy-to
complete -c idxdctl -n '__fish_seen_subcommand_from crc' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from crc' -l kind
complete -c idxdctl -n '__fish_seen_subcommand_from crc' -l seed
complete -c idxdctl -n '__fish_seen_subcommand_from crc' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from crc' -l timeout
complete -c idxdctl -n '__fish_seen_subcommand_from crc' -l wq
complete -c idxdctl -n '__fish_seen_subcommand_from crc' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a delta -d 'The difference of two files, as delta records.'
complete -c idxdctl -n '__fish_seen_subcommand_from delta' -l help
complete -c idxdctl -n '__fish_seen_subcommand_from delta' -f -a apply -d 'Write NEW: OLD changed as DELTA says. OLD must be the file that DELTA was made from.'
complete -c idxdctl -n '__fish_seen_subcommand_from delta; and __fish_seen_subcommand_from apply' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from delta; and __fish_seen_subcommand_from apply' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from delta; and __fish_seen_subcommand_from apply' -l timeout
complete -c idxdctl -n '__fish_seen_subcommand_from delta; and __fish_seen_subcommand_from apply' -l wq
complete -c idxdctl -n '__fish_seen_subcommand_from delta; and __fish_seen_subcommand_from apply' -l help
complete -c idxdctl -n '__fish_seen_subcommand_from delta' -f -a create -d 'Write to DELTA what makes NEW of OLD.'
complete -c idxdctl -n '__fish_seen_subcommand_from delta; and __fish_seen_subcommand_from create' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from delta; and __fish_seen_subcommand_from create' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from delta; and __fish_seen_subcommand_from create' -l timeout
complete -c idxdctl -n '__fish_seen_subcommand_from delta; and __fish_seen_subcommand_from create' -l wq
complete -c idxdctl -n '__fish_seen_subcommand_from delta; and __fish_seen_subcommand_from create' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a dif -d 'Protection fields behind each block of a file.'
complete -c idxdctl -n '__fish_seen_subcommand_from dif' -l help
complete -c idxdctl -n '__fish_seen_subcommand_from dif' -f -a check -d 'Check the field behind each block; exit code 1 and the first wrong block when there is one.'
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from check' -l all-f
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from check' -l all-f-error
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from check' -l app-f
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from check' -l app-increments
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from check' -l app-mask
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from check' -l app-ref-f
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from check' -l app-tag
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from check' -l block-size
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from check' -l crc-inverted
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from check' -l crc-seed-ones
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from check' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from check' -l no-guard
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from check' -l no-ref
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from check' -l ref-fixed
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from check' -l ref-tag
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from check' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from check' -l timeout
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from check' -l wq
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from check' -l help
complete -c idxdctl -n '__fish_seen_subcommand_from dif' -f -a insert -d 'Copy a file of blocks and put a field behind each.'
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from insert' -l app-increments
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from insert' -l app-mask
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from insert' -l app-tag
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from insert' -l block-size
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from insert' -l crc-inverted
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from insert' -l crc-seed-ones
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from insert' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from insert' -l ref-fixed
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from insert' -l ref-tag
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from insert' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from insert' -l timeout
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from insert' -l wq
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from insert' -l help
complete -c idxdctl -n '__fish_seen_subcommand_from dif' -f -a strip -d 'Check the field behind each block, and copy the blocks without them.'
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from strip' -l all-f
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from strip' -l all-f-error
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from strip' -l app-f
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from strip' -l app-increments
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from strip' -l app-mask
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from strip' -l app-ref-f
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from strip' -l app-tag
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from strip' -l block-size
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from strip' -l crc-inverted
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from strip' -l crc-seed-ones
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from strip' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from strip' -l no-guard
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from strip' -l no-ref
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from strip' -l ref-fixed
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from strip' -l ref-tag
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from strip' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from strip' -l timeout
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from strip' -l wq
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from strip' -l help
complete -c idxdctl -n '__fish_seen_subcommand_from dif' -f -a update -d 'Check the field behind each block, and copy the blocks with new ones.'
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from update' -l all-f
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from update' -l all-f-error
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from update' -l app-f
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from update' -l app-increments
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from update' -l app-mask
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from update' -l app-ref-f
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from update' -l app-tag
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from update' -l block-size
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from update' -l crc-inverted
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from update' -l crc-seed-ones
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from update' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from update' -l new-app-increments
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from update' -l new-app-mask
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from update' -l new-app-tag
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from update' -l new-ref-fixed
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from update' -l new-ref-tag
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from update' -l no-guard
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from update' -l no-ref
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from update' -l pass-app
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from update' -l pass-guard
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from update' -l pass-ref
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from update' -l ref-fixed
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from update' -l ref-tag
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from update' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from update' -l timeout
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from update' -l wq
complete -c idxdctl -n '__fish_seen_subcommand_from dif; and __fish_seen_subcommand_from update' -l help
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
complete -c idxdctl -n __fish_use_subcommand -f -a dix -d 'Protection fields of a file, apart from its blocks.'
complete -c idxdctl -n '__fish_seen_subcommand_from dix' -l help
complete -c idxdctl -n '__fish_seen_subcommand_from dix' -f -a generate -d 'Write the 8-byte field of each block of SRC to DST.'
complete -c idxdctl -n '__fish_seen_subcommand_from dix; and __fish_seen_subcommand_from generate' -l app-increments
complete -c idxdctl -n '__fish_seen_subcommand_from dix; and __fish_seen_subcommand_from generate' -l app-mask
complete -c idxdctl -n '__fish_seen_subcommand_from dix; and __fish_seen_subcommand_from generate' -l app-tag
complete -c idxdctl -n '__fish_seen_subcommand_from dix; and __fish_seen_subcommand_from generate' -l block-size
complete -c idxdctl -n '__fish_seen_subcommand_from dix; and __fish_seen_subcommand_from generate' -l crc-inverted
complete -c idxdctl -n '__fish_seen_subcommand_from dix; and __fish_seen_subcommand_from generate' -l crc-seed-ones
complete -c idxdctl -n '__fish_seen_subcommand_from dix; and __fish_seen_subcommand_from generate' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from dix; and __fish_seen_subcommand_from generate' -l ref-fixed
complete -c idxdctl -n '__fish_seen_subcommand_from dix; and __fish_seen_subcommand_from generate' -l ref-tag
complete -c idxdctl -n '__fish_seen_subcommand_from dix; and __fish_seen_subcommand_from generate' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from dix; and __fish_seen_subcommand_from generate' -l timeout
complete -c idxdctl -n '__fish_seen_subcommand_from dix; and __fish_seen_subcommand_from generate' -l wq
complete -c idxdctl -n '__fish_seen_subcommand_from dix; and __fish_seen_subcommand_from generate' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a doctor -d 'Check this machine and the daemon; say what to do about what is wrong.'
complete -c idxdctl -n '__fish_seen_subcommand_from doctor' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from doctor' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from doctor' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a dualcast -d 'Copy a file to two files at once, by Dualcast.'
complete -c idxdctl -n '__fish_seen_subcommand_from dualcast' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from dualcast' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from dualcast' -l timeout
complete -c idxdctl -n '__fish_seen_subcommand_from dualcast' -l wq
complete -c idxdctl -n '__fish_seen_subcommand_from dualcast' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a enable-device -d 'Enable devices: their configuration is written and checked.'
complete -c idxdctl -n '__fish_seen_subcommand_from enable-device' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from enable-device' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from enable-device' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a enable-wq -d 'Enable work queues.'
complete -c idxdctl -n '__fish_seen_subcommand_from enable-wq' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from enable-wq' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from enable-wq' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a errors -d 'The last descriptors that did not end well; kept without a trace.'
complete -c idxdctl -n '__fish_seen_subcommand_from errors' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from errors' -l last
complete -c idxdctl -n '__fish_seen_subcommand_from errors' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from errors' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a evl -d 'A device'\''s event log, decoded (admin).'
complete -c idxdctl -n '__fish_seen_subcommand_from evl' -l follow
complete -c idxdctl -n '__fish_seen_subcommand_from evl' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from evl' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from evl' -l help
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
complete -c idxdctl -n __fish_use_subcommand -f -a fill -d 'Write a file of SIZE bytes with a pattern, by Fill.'
complete -c idxdctl -n '__fish_seen_subcommand_from fill' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from fill' -l pattern
complete -c idxdctl -n '__fish_seen_subcommand_from fill' -l size
complete -c idxdctl -n '__fish_seen_subcommand_from fill' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from fill' -l timeout
complete -c idxdctl -n '__fish_seen_subcommand_from fill' -l wq
complete -c idxdctl -n '__fish_seen_subcommand_from fill' -l help
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
complete -c idxdctl -n __fish_use_subcommand -f -a inject -d 'Make rare events happen, by rules (admin).'
complete -c idxdctl -n '__fish_seen_subcommand_from inject' -l help
complete -c idxdctl -n '__fish_seen_subcommand_from inject' -f -a add -d 'Put rules in force, all or none; prints each with the number it has.'
complete -c idxdctl -n '__fish_seen_subcommand_from inject; and __fish_seen_subcommand_from add' -l file
complete -c idxdctl -n '__fish_seen_subcommand_from inject; and __fish_seen_subcommand_from add' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from inject; and __fish_seen_subcommand_from add' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from inject; and __fish_seen_subcommand_from add' -l help
complete -c idxdctl -n '__fish_seen_subcommand_from inject' -f -a dry-run -d 'Say what rules would match and do, and to which of some descriptors; nothing is put in force.'
complete -c idxdctl -n '__fish_seen_subcommand_from inject; and __fish_seen_subcommand_from dry-run' -l desc
complete -c idxdctl -n '__fish_seen_subcommand_from inject; and __fish_seen_subcommand_from dry-run' -l file
complete -c idxdctl -n '__fish_seen_subcommand_from inject; and __fish_seen_subcommand_from dry-run' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from inject; and __fish_seen_subcommand_from dry-run' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from inject; and __fish_seen_subcommand_from dry-run' -l trace
complete -c idxdctl -n '__fish_seen_subcommand_from inject; and __fish_seen_subcommand_from dry-run' -l wq
complete -c idxdctl -n '__fish_seen_subcommand_from inject; and __fish_seen_subcommand_from dry-run' -l help
complete -c idxdctl -n '__fish_seen_subcommand_from inject' -f -a list -d 'Rules in force, with what they matched, what they hit, and how many hits are left.'
complete -c idxdctl -n '__fish_seen_subcommand_from inject; and __fish_seen_subcommand_from list' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from inject; and __fish_seen_subcommand_from list' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from inject; and __fish_seen_subcommand_from list' -l help
complete -c idxdctl -n '__fish_seen_subcommand_from inject' -f -a remove -d 'Take rules out of force; what they held back goes on.'
complete -c idxdctl -n '__fish_seen_subcommand_from inject; and __fish_seen_subcommand_from remove' -l all
complete -c idxdctl -n '__fish_seen_subcommand_from inject; and __fish_seen_subcommand_from remove' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from inject; and __fish_seen_subcommand_from remove' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from inject; and __fish_seen_subcommand_from remove' -l help
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
complete -c idxdctl -n '__fish_seen_subcommand_from metrics' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from metrics' -l listen
complete -c idxdctl -n '__fish_seen_subcommand_from metrics' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from metrics' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a pci -d 'Registers of a device'\''s PCI configuration space (admin).'
complete -c idxdctl -n '__fish_seen_subcommand_from pci' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from pci' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from pci' -l help
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
complete -c idxdctl -n '__fish_seen_subcommand_from stress' -l rest
complete -c idxdctl -n '__fish_seen_subcommand_from stress' -l revokes
complete -c idxdctl -n '__fish_seen_subcommand_from stress' -l seconds
complete -c idxdctl -n '__fish_seen_subcommand_from stress' -l seed
complete -c idxdctl -n '__fish_seen_subcommand_from stress' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from stress' -l timeout
complete -c idxdctl -n '__fish_seen_subcommand_from stress' -l wq
complete -c idxdctl -n '__fish_seen_subcommand_from stress' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a swerr -d 'The last software error of each device, as the driver saved it, decoded.'
complete -c idxdctl -n '__fish_seen_subcommand_from swerr' -l history
complete -c idxdctl -n '__fish_seen_subcommand_from swerr' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from swerr' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from swerr' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a top -d 'Rates of work queues and clients, live; ends with Ctrl-C.'
complete -c idxdctl -n '__fish_seen_subcommand_from top' -l interval
complete -c idxdctl -n '__fish_seen_subcommand_from top' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from top' -l once
complete -c idxdctl -n '__fish_seen_subcommand_from top' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from top' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a trace -d 'Record every descriptor: when it was accepted, begun and ended, how, and why (admin).'
complete -c idxdctl -n '__fish_seen_subcommand_from trace' -l help
complete -c idxdctl -n '__fish_seen_subcommand_from trace' -f -a export -d 'Write the whole trace to a file: text, JSON lines, or Chrome'\''s trace events for https://ui.perfetto.dev.'
complete -c idxdctl -n '__fish_seen_subcommand_from trace; and __fish_seen_subcommand_from export' -l client
complete -c idxdctl -n '__fish_seen_subcommand_from trace; and __fish_seen_subcommand_from export' -l format
complete -c idxdctl -n '__fish_seen_subcommand_from trace; and __fish_seen_subcommand_from export' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from trace; and __fish_seen_subcommand_from export' -l op
complete -c idxdctl -n '__fish_seen_subcommand_from trace; and __fish_seen_subcommand_from export' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from trace; and __fish_seen_subcommand_from export' -l status
complete -c idxdctl -n '__fish_seen_subcommand_from trace; and __fish_seen_subcommand_from export' -l wq
complete -c idxdctl -n '__fish_seen_subcommand_from trace; and __fish_seen_subcommand_from export' -l help
complete -c idxdctl -n '__fish_seen_subcommand_from trace' -f -a off -d 'Stop; what was traced can still be shown and exported.'
complete -c idxdctl -n '__fish_seen_subcommand_from trace; and __fish_seen_subcommand_from off' -l discard
complete -c idxdctl -n '__fish_seen_subcommand_from trace; and __fish_seen_subcommand_from off' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from trace; and __fish_seen_subcommand_from off' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from trace; and __fish_seen_subcommand_from off' -l help
complete -c idxdctl -n '__fish_seen_subcommand_from trace' -f -a on -d 'Begin to trace; an earlier trace is discarded.'
complete -c idxdctl -n '__fish_seen_subcommand_from trace; and __fish_seen_subcommand_from on' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from trace; and __fish_seen_subcommand_from on' -l size
complete -c idxdctl -n '__fish_seen_subcommand_from trace; and __fish_seen_subcommand_from on' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from trace; and __fish_seen_subcommand_from on' -l help
complete -c idxdctl -n '__fish_seen_subcommand_from trace' -f -a show -d 'Print records, a line each; times in µs.'
complete -c idxdctl -n '__fish_seen_subcommand_from trace; and __fish_seen_subcommand_from show' -l client
complete -c idxdctl -n '__fish_seen_subcommand_from trace; and __fish_seen_subcommand_from show' -l follow
complete -c idxdctl -n '__fish_seen_subcommand_from trace; and __fish_seen_subcommand_from show' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from trace; and __fish_seen_subcommand_from show' -l last
complete -c idxdctl -n '__fish_seen_subcommand_from trace; and __fish_seen_subcommand_from show' -l op
complete -c idxdctl -n '__fish_seen_subcommand_from trace; and __fish_seen_subcommand_from show' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from trace; and __fish_seen_subcommand_from show' -l status
complete -c idxdctl -n '__fish_seen_subcommand_from trace; and __fish_seen_subcommand_from show' -l wq
complete -c idxdctl -n '__fish_seen_subcommand_from trace; and __fish_seen_subcommand_from show' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a translate -d 'Map a file and have its addresses translated, by Translation Fetch: exit code 1 when a page is not there.'
complete -c idxdctl -n '__fish_seen_subcommand_from translate' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from translate' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from translate' -l stride
complete -c idxdctl -n '__fish_seen_subcommand_from translate' -l timeout
complete -c idxdctl -n '__fish_seen_subcommand_from translate' -l wq
complete -c idxdctl -n '__fish_seen_subcommand_from translate' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a why -d 'One descriptor'\''s story: how it went, the rule that failed, the fix.'
complete -c idxdctl -n '__fish_seen_subcommand_from why' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from why' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from why' -l help
complete -c idxdctl -n __fish_use_subcommand -f -a windows -d 'Inter-domain windows: whose memory, who may reach it, and how (all of them: admin).'
complete -c idxdctl -n '__fish_seen_subcommand_from windows' -l json
complete -c idxdctl -n '__fish_seen_subcommand_from windows' -l socket
complete -c idxdctl -n '__fish_seen_subcommand_from windows' -l help
