/* SPDX-License-Identifier: Apache-2.0 */
/*
 * completion bash|zsh|fish: the scripts that bring `__complete` into a shell. They know no verb and no flag; @P@ is the name that
 * we were called by.
 */
#include "base/str.h"
#include "verbs.h"

static const char bash_script[] =
    "# bash completion of @P@: source this file, or put it into /usr/share/bash-completion/completions/@P@\n"
    "_@P@()\n"
    "{\n"
    "\tlocal line=${COMP_LINE:0:COMP_POINT} before word i\n"
    "\tlocal -a words=()\n"
    "\t# Bash cuts words at ':' and '=' too: those with no blank between them are one.\n"
    "\tfor ((i = 0; i <= COMP_CWORD; i++)); do\n"
    "\t\tword=${COMP_WORDS[i]}\n"
    "\t\tbefore=${line%%[!$' \\t']*}\n"
    "\t\tline=${line#\"$before\"}\n"
    "\t\tif ((i < COMP_CWORD)); then\n"
    "\t\t\tline=${line#\"$word\"}\n"
    "\t\telse\n"
    "\t\t\tword=$line\n"
    "\t\tfi\n"
    "\t\tif [[ -z $before && ${#words[@]} -gt 0 ]]; then\n"
    "\t\t\twords[${#words[@]}-1]+=$word\n"
    "\t\telse\n"
    "\t\t\twords+=(\"$word\")\n"
    "\t\tfi\n"
    "\tdone\n"
    "\tlocal current=${words[${#words[@]}-1]} reply directive=0\n"
    "\tCOMPREPLY=()\n"
    "\twhile IFS= read -r reply; do\n"
    "\t\tif [[ $reply == :* ]]; then\n"
    "\t\t\tdirective=${reply#:}\n"
    "\t\telse\n"
    "\t\t\tCOMPREPLY+=(\"${reply%%$'\\t'*}\")\n"
    "\t\tfi\n"
    "\tdone < <(\"${words[0]}\" __complete \"${words[@]:1}\" 2>/dev/null)\n"
    "\t((directive & 2)) && compopt -o nospace\n"
    "\t((directive & 4)) || compopt -o default\n"
    "\t# What bash cut off in front is not to come again.\n"
    "\tlocal cut=${current%\"${current##*[:=]}\"}\n"
    "\tif [[ -n $cut ]]; then\n"
    "\t\tfor i in \"${!COMPREPLY[@]}\"; do\n"
    "\t\t\tCOMPREPLY[i]=${COMPREPLY[i]#\"$cut\"}\n"
    "\t\tdone\n"
    "\tfi\n"
    "}\n"
    "complete -F _@P@ @P@\n";

static const char zsh_script[] =
    "#compdef @P@\n"
    "# zsh completion of @P@: put it into a folder of $fpath as _@P@, or source it after compinit\n"
    "_@P@()\n"
    "{\n"
    "\tlocal line directive=0\n"
    "\tlocal -a candidates\n"
    "\tlocal -a no_space\n"
    "\tfor line in \"${(@f)$(\"${words[1]}\" __complete \"${(@)words[2,CURRENT]}\" 2>/dev/null)}\"; do\n"
    "\t\tif [[ $line == :* ]]; then\n"
    "\t\t\tdirective=${line#:}\n"
    "\t\telif [[ -n $line ]]; then\n"
    "\t\t\tlocal name=${line%%$'\\t'*} about=\n"
    "\t\t\t[[ $line == *$'\\t'* ]] && about=${line#*$'\\t'}\n"
    "\t\t\tcandidates+=(\"${name//:/\\\\:}${about:+:$about}\")\n"
    "\t\tfi\n"
    "\tdone\n"
    "\t((directive & 2)) && no_space=(-S '')\n"
    "\t((${#candidates})) && _describe -V '@P@' candidates $no_space\n"
    "\t((directive & 4)) || _files\n"
    "}\n"
    "if [ \"$funcstack[1]\" = \"_@P@\" ]; then\n"
    "\t_@P@ \"$@\"\n"
    "else\n"
    "\tcompdef _@P@ @P@\n"
    "fi\n";

static const char fish_script[] =
    "# fish completion of @P@: put it into ~/.config/fish/completions/@P@.fish\n"
    "function __@P@_complete\n"
    "\tset -l words (commandline -opc) (commandline -ct)\n"
    "\tset -l replies ($words[1] __complete $words[2..-1] 2>/dev/null)\n"
    "\tset -l directive (string replace -r '^:' '' -- $replies[-1])\n"
    "\tif test (count $replies) -gt 1\n"
    "\t\tprintf '%s\\n' $replies[1..-2]\n"
    "\tend\n"
    "\tif test \"$directive\" = 0\n"
    "\t\t__fish_complete_path (commandline -ct)\n"
    "\tend\n"
    "end\n"
    "complete -c @P@ -f -a '(__@P@_complete)'\n";

static void print_script(const char *script, const char *program)
{
	for (const char *at; (at = strstr(script, "@P@")); script = at + 3)
		(void)printf("%.*s%s", (int)(at - script), script, program);
	(void)fputs(script, stdout);
}

static int run_completion(Call *call, Err *e)
{
	static const struct {
		const char *shell, *script;
	} scripts[] = {{"bash", bash_script}, {"zsh", zsh_script}, {"fish", fish_script}};

	for (size_t i = 0; i < ELEMENTSOF(scripts); i++)
		if (streq(call->args[0], scripts[i].shell)) {
			print_script(scripts[i].script, call->cli->program);
			return 0;
		}
	return err_new(e, ERR_INVALID, "completion of %s is not offered: expected bash, zsh or fish",
		       call->args[0]);
}

const Command cmd_completion = {.usage = "bash|zsh|fish",
				.summary = "Print the completion script of a shell",
				.min = 1,
				.max = 1,
				.run = run_completion};
