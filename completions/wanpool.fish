# fish completion for wanpool(8). The program itself returns the candidates.

function __wanpool_complete
    set --local words (commandline --current-process --tokenize --cut-at-cursor) (commandline --cut-at-cursor --current-token)
    set --local --export PATH $PATH /usr/local/sbin /usr/sbin /sbin
    command wanpool --complete $words 2>/dev/null </dev/null
end

complete --command wanpool --no-files --keep-order --arguments '(__wanpool_complete)'
