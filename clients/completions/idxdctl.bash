# bash completion of idxdctl
_idxdctl() {
  local word=${COMP_WORDS[COMP_CWORD]} verb=${COMP_WORDS[1]} words=""
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "assert batch bench bus-reset cflush clients close-window compare completion config-device config-engine config-group config-wq copy crc delta dif disable-device disable-wq dix doctor dualcast enable-device enable-wq errors evl explain fill flr halt inject insert kick list load-config metrics pci ping regs reload remove reset revoke save-config stats stress swerr top trace translate why windows" -- "$word"))
    return
  fi
  case $verb in
    delta|dif|dix|inject|trace)
      if [ "$COMP_CWORD" -gt 2 ]; then verb="$verb ${COMP_WORDS[2]}"; fi ;;
  esac
  case $verb in
    assert) words="--json --min-bytes --min-ops --socket --wq --help" ;;
    batch) words="--dry-run --json --separately --socket --timeout --wq --help" ;;
    bench) words="--json --rounds --socket --wq --help" ;;
    bus-reset) words="--json --socket --type --help" ;;
    cflush) words="--json --socket --timeout --wq --help" ;;
    clients) words="--json --socket --help" ;;
    close-window) words="--json --socket --help" ;;
    compare) words="--json --pattern --socket --timeout --wq --help" ;;
    completion) words="--help" ;;
    config-device) words="--event-log-size --json --read-buffer-limit --socket --token-limit --help" ;;
    config-engine) words="--group-id --json --socket --help" ;;
    config-group) words="--batch-progress-limit --desc-progress-limit --json --read-buffers-allowed --read-buffers-reserved --socket --traffic-class-a --traffic-class-b --use-read-buffer-limit --help" ;;
    config-wq) words="--ats-disable --block-on-fault --driver-name --group-id --json --max-batch-size --max-transfer-size --mode --name --op-config --priority --prs-disable --socket --threshold --type --wq-size --help" ;;
    copy) words="--chunk --depth --json --procs --socket --timeout --verify --wq --help" ;;
    crc) words="--block-size --bypass-inversion --bypass-reflection --copy-to --json --kind --seed --socket --timeout --wq --help" ;;
    delta) words="apply create --help" ;;
    "delta apply") words="--json --socket --timeout --wq --help" ;;
    "delta create") words="--json --socket --timeout --wq --help" ;;
    dif) words="check insert strip update --help" ;;
    "dif check") words="--all-f --all-f-error --app-f --app-increments --app-mask --app-ref-f --app-tag --block-size --crc-inverted --crc-seed-ones --json --no-guard --no-ref --ref-fixed --ref-tag --socket --timeout --wq --help" ;;
    "dif insert") words="--app-increments --app-mask --app-tag --block-size --crc-inverted --crc-seed-ones --json --ref-fixed --ref-tag --socket --timeout --wq --help" ;;
    "dif strip") words="--all-f --all-f-error --app-f --app-increments --app-mask --app-ref-f --app-tag --block-size --crc-inverted --crc-seed-ones --json --no-guard --no-ref --ref-fixed --ref-tag --socket --timeout --wq --help" ;;
    "dif update") words="--all-f --all-f-error --app-f --app-increments --app-mask --app-ref-f --app-tag --block-size --crc-inverted --crc-seed-ones --json --new-app-increments --new-app-mask --new-app-tag --new-ref-fixed --new-ref-tag --no-guard --no-ref --pass-app --pass-guard --pass-ref --ref-fixed --ref-tag --socket --timeout --wq --help" ;;
    disable-device) words="--force --json --socket --help" ;;
    disable-wq) words="--force --json --socket --help" ;;
    dix) words="generate --help" ;;
    "dix generate") words="--app-increments --app-mask --app-tag --block-size --crc-inverted --crc-seed-ones --json --ref-fixed --ref-tag --socket --timeout --wq --help" ;;
    doctor) words="--json --socket --help" ;;
    dualcast) words="--json --socket --timeout --wq --help" ;;
    enable-device) words="--json --socket --help" ;;
    enable-wq) words="--json --socket --help" ;;
    errors) words="--json --last --socket --help" ;;
    evl) words="--follow --json --socket --help" ;;
    explain) words="--bof --checks --in-batch --json --max-batch --max-transfer --profile --read-only --record --shared --socket --status --unmapped --wq --help" ;;
    fill) words="--json --pattern --size --socket --timeout --wq --help" ;;
    flr) words="--json --socket --help" ;;
    halt) words="--json --socket --type --wait --help" ;;
    inject) words="add dry-run list remove --help" ;;
    "inject add") words="--file --json --socket --help" ;;
    "inject dry-run") words="--desc --file --json --socket --trace --wq --help" ;;
    "inject list") words="--json --socket --help" ;;
    "inject remove") words="--all --json --socket --help" ;;
    insert) words="--json --socket --help" ;;
    kick) words="--json --socket --help" ;;
    list) words="--device --devices --engine --engines --group --groups --idle --json --socket --workqueue --workqueues --help" ;;
    load-config) words="--config-file --dry-run --enable --force --forced --json --socket --help" ;;
    metrics) words="--json --listen --socket --help" ;;
    pci) words="--json --socket --help" ;;
    ping) words="--count --json --socket --timeout --wq --help" ;;
    regs) words="--decode --device --json --socket --help" ;;
    reload) words="--json --socket --help" ;;
    remove) words="--json --socket --help" ;;
    reset) words="--force --json --socket --help" ;;
    revoke) words="--handle --json --socket --wq --help" ;;
    save-config) words="--json --saved-file --socket --help" ;;
    stats) words="--json --socket --help" ;;
    stress) words="--clients --descriptors --disable-wqs --every --faults --halts --json --kill-clients --kill-irq --rest --revokes --seconds --seed --socket --timeout --wq --help" ;;
    swerr) words="--history --json --socket --help" ;;
    top) words="--interval --json --once --socket --help" ;;
    trace) words="export off on show --help" ;;
    "trace export") words="--client --format --json --op --socket --status --wq --help" ;;
    "trace off") words="--discard --json --socket --help" ;;
    "trace on") words="--json --size --socket --help" ;;
    "trace show") words="--client --follow --json --last --op --socket --status --wq --help" ;;
    translate) words="--json --socket --stride --timeout --wq --help" ;;
    why) words="--json --socket --help" ;;
    windows) words="--json --socket --help" ;;
  esac
  case $verb:$word in
    delta:*|dif:*|dix:*|inject:*|trace:*|*:-*) COMPREPLY=($(compgen -W "$words" -- "$word")) ;;
    *) COMPREPLY=($(compgen -f -- "$word")) ;;
  esac
}
complete -o filenames -F _idxdctl idxdctl
