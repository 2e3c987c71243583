# bash completion of idxdctl
_idxdctl() {
  local word=${COMP_WORDS[COMP_CWORD]} words=""
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "assert bus-reset clients completion config-device config-engine config-group config-wq copy crc disable-device disable-wq doctor enable-device enable-wq explain flr halt insert kick list load-config metrics ping regs reload remove reset revoke save-config stats stress swerr top" -- "$word"))
    return
  fi
  case ${COMP_WORDS[1]} in
    assert) words="--json --min-bytes --min-ops --socket --wq --help" ;;
    bus-reset) words="--json --socket --type --help" ;;
    clients) words="--json --socket --help" ;;
    completion) words="--help" ;;
    config-device) words="--event-log-size --json --read-buffer-limit --socket --token-limit --help" ;;
    config-engine) words="--group-id --json --socket --help" ;;
    config-group) words="--batch-progress-limit --desc-progress-limit --json --read-buffers-allowed --read-buffers-reserved --socket --traffic-class-a --traffic-class-b --use-read-buffer-limit --help" ;;
    config-wq) words="--ats-disable --block-on-fault --driver-name --group-id --json --max-batch-size --max-transfer-size --mode --name --op-config --priority --prs-disable --socket --threshold --type --wq-size --help" ;;
    copy) words="--chunk --depth --json --procs --socket --timeout --verify --wq --help" ;;
    crc) words="--json --socket --timeout --wq --help" ;;
    disable-device) words="--force --json --socket --help" ;;
    disable-wq) words="--force --json --socket --help" ;;
    doctor) words="--json --socket --help" ;;
    enable-device) words="--json --socket --help" ;;
    enable-wq) words="--json --socket --help" ;;
    explain) words="--bof --checks --in-batch --json --max-batch --max-transfer --profile --read-only --record --shared --socket --status --unmapped --wq --help" ;;
    flr) words="--json --socket --help" ;;
    halt) words="--json --socket --type --wait --help" ;;
    insert) words="--json --socket --help" ;;
    kick) words="--json --socket --help" ;;
    list) words="--device --devices --engine --engines --group --groups --idle --json --socket --workqueue --workqueues --help" ;;
    load-config) words="--config-file --dry-run --enable --force --forced --json --socket --help" ;;
    metrics) words="--listen --socket --help" ;;
    ping) words="--count --json --socket --timeout --wq --help" ;;
    regs) words="--decode --device --json --socket --help" ;;
    reload) words="--json --socket --help" ;;
    remove) words="--json --socket --help" ;;
    reset) words="--force --json --socket --help" ;;
    revoke) words="--handle --json --socket --wq --help" ;;
    save-config) words="--json --saved-file --socket --help" ;;
    stats) words="--json --socket --help" ;;
    stress) words="--clients --descriptors --disable-wqs --every --faults --halts --json --kill-clients --kill-irq --revokes --seconds --seed --socket --timeout --wq --help" ;;
    swerr) words="--json --socket --help" ;;
    top) words="--interval --json --once --socket --help" ;;
  esac
  case $word in
    -*) COMPREPLY=($(compgen -W "$words" -- "$word")) ;;
    *) COMPREPLY=($(compgen -f -- "$word")) ;;
  esac
}
complete -o filenames -F _idxdctl idxdctl
