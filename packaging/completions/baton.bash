# SPDX-License-Identifier: MIT
# Completion of baton's verbs and options in bash. Behind "--" the words are the proxy's: they complete as its own would.
_baton()
{
        local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} verb=${COMP_WORDS[1]} i
        local run='--name --run-dir --config --status --admin --watch --no-auto-upgrade --debounce --splay --certs --certs-mode --certs-verify --certs-rsa-bits --certs-ec-bits --certs-warn
                --retry-tokens --retry-initial --retry-max --stable --token-refill --on-exhausted --on-clean-exit --ready-timeout --drain-time
                --stop-delay --stop-timeout --hold-time --standby --max-draining --hang-timeout --observe --handover --listen --probe --state-dir
                --proxy-user --expand-env --allow-listener-loss --stats-interval --log-format --log-level --print-options --help'
        local where='--run-dir --name --help'

        COMPREPLY=()
        if ((COMP_CWORD == 1)); then
                mapfile -t COMPREPLY < <(compgen -W 'run status stop drain wait events why version upgrade reload rollback pause resume stats
                        top receipts admin check certs --help --version' -- "$word")
                return
        fi
        for ((i = 2; i < COMP_CWORD; i++)); do
                if [[ $verb == @(run|check|upgrade|reload) && ${COMP_WORDS[i]} == -- ]]; then
                        if declare -F _command_offset >/dev/null && ((i + 1 <= COMP_CWORD)); then
                                _command_offset $((i + 1))
                        fi
                        return
                fi
        done
        [[ $word == = ]] && word=
        [[ $previous == = ]] && previous=${COMP_WORDS[COMP_CWORD - 2]}
        case $previous in
        --run-dir | --state-dir) mapfile -t COMPREPLY < <(compgen -d -- "$word"); return ;;
        --config | --watch | --certs) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
        --handover) mapfile -t COMPREPLY < <(compgen -W 'envoy listen-fds none' -- "$word"); return ;;
        --on-exhausted) mapfile -t COMPREPLY < <(compgen -W 'exit wait' -- "$word"); return ;;
        --on-clean-exit) mapfile -t COMPREPLY < <(compgen -W 'stop restart' -- "$word"); return ;;
        --log-format) mapfile -t COMPREPLY < <(compgen -W 'text json' -- "$word"); return ;;
        --log-level) mapfile -t COMPREPLY < <(compgen -W 'debug info notice warning error' -- "$word"); return ;;
        --admin) mapfile -t COMPREPLY < <(compgen -W 'bootstrap off' -- "$word"); return ;;
        --certs-mode) mapfile -t COMPREPLY < <(compgen -W 'restart publish' -- "$word"); return ;;
        --certs-verify) mapfile -t COMPREPLY < <(compgen -W 'strict pair' -- "$word"); return ;;
        --print-options) mapfile -t COMPREPLY < <(compgen -W 'table json' -- "$word"); return ;;
        esac
        case $verb in
        run) mapfile -t COMPREPLY < <(compgen -W "$run" -- "$word") ;;
        check) mapfile -t COMPREPLY < <(compgen -W "$run --diff --json --timeout" -- "$word") ;;
        status) mapfile -t COMPREPLY < <(compgen -W "$where --json --watch" -- "$word") ;;
        stop) mapfile -t COMPREPLY < <(compgen -W "$where --timeout --no-wait" -- "$word") ;;
        upgrade | reload) mapfile -t COMPREPLY < <(compgen -W "$where --no-wait --timeout --observe --self --canary --json" -- "$word") ;;
        rollback) mapfile -t COMPREPLY < <(compgen -W "$where --to --no-wait --timeout --json" -- "$word") ;;
        drain) mapfile -t COMPREPLY < <(compgen -W "$where --undo" -- "$word") ;;
        admin) mapfile -t COMPREPLY < <(compgen -W "$where --timeout GET POST /clusters /config_dump /listeners /ready /server_info /stats /stats/prometheus" -- "$word") ;;
        wait) mapfile -t COMPREPLY < <(compgen -W "$where --ready --epoch --timeout" -- "$word") ;;
        events) mapfile -t COMPREPLY < <(compgen -W "$where --follow --json" -- "$word") ;;
        certs) mapfile -t COMPREPLY < <(compgen -W "--json --help" -- "$word"; compgen -d -- "$word") ;;
        version) mapfile -t COMPREPLY < <(compgen -W '--json --help' -- "$word") ;;
        *) mapfile -t COMPREPLY < <(compgen -W "$where" -- "$word") ;;
        esac
}
complete -F _baton baton
