import path from 'node:path'

const name = 'continual-diffusion'

/** A command of this program as the user can paste it: by what this process was started by, with what a shell needs around its words. */
export function asRun(...words: string[]): string {
  return [...program(process.argv[1] ?? name, process.env), ...words].map(quoted).join(' ')
}

/** @param script what Node runs: the file, or a link to it whose name is the program's */
export function program(script: string, { npm_command, PATH = '' }: NodeJS.ProcessEnv): string[] {
  const nearest = path.relative('', script)
  if (path.basename(script) !== name) return ['node', nearest.startsWith('..') ? script : nearest]
  // npm puts the programs of the project, or of its own cache, on the path of what it starts, and not on the shell's.
  if (npm_command !== undefined) return ['npx', name]
  if (PATH.split(path.delimiter).includes(path.dirname(script))) return [name]
  return [nearest.startsWith('..') ? script : nearest]
}

function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`
}
