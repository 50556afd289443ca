# bash completion for wanpool(8). The program itself returns the candidates.

_wanpool() {
    local words=() word last="" cut reply i
    # bash also splits words at = and :. The program expects unsplit words, so join them.
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
    # bash replaces only the part of the word after the last = or :. Remove the part before it from each candidate.
    cut=${words[${#words[@]} - 1]}
    cut=${cut%"$2"}

    COMPREPLY=()
    while IFS=$'\t' read -r reply _; do
        COMPREPLY+=("${reply#"$cut"}")
    done < <(PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin wanpool --complete "${words[@]}" 2>/dev/null </dev/null)
    # Add no space after a directory or an incomplete address.
    if [ ${#COMPREPLY[@]} -eq 1 ] && [[ ${COMPREPLY[0]} == *[/.=] ]]; then
        compopt -o nospace 2>/dev/null
    fi
}

complete -o nosort -F _wanpool wanpool 2>/dev/null || complete -F _wanpool wanpool
