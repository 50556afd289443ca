# Completions of wanpool(8) for bash: what may stand at the cursor is asked of the program itself.

_wanpool() {
    local words=() word last="" cut reply i
    # bash cuts words at = and : too; the program is asked with them whole.
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        [ $i -lt "$COMP_CWORD" ] || [ "$word" = = ] || [ "$word" = : ] || word=$2
        if [ ${#words[@]} -gt 1 ] && [[ $last == [=:] || $word == [=:] ]]; then
            words[${#words[@]} - 1]+=$word
        else
            words+=("$word")
        fi
        last=$word
    done
    # Of what is replaced, bash knows but the part behind the last of these.
    cut=${words[${#words[@]} - 1]}
    cut=${cut%"$2"}

    COMPREPLY=()
    while IFS=$'\t' read -r reply _; do
        COMPREPLY+=("${reply#"$cut"}")
    done < <(PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin wanpool --complete "${words[@]}" 2>/dev/null </dev/null)
    # Folders, and the beginnings of addresses, go on.
    if [ ${#COMPREPLY[@]} -eq 1 ] && [[ ${COMPREPLY[0]} == *[/.=] ]]; then
        compopt -o nospace 2>/dev/null
    fi
}

complete -o nosort -F _wanpool wanpool 2>/dev/null || complete -F _wanpool wanpool
