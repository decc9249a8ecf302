const names = { 'fashion-mnist': 'Fashion-MNIST', mnist: 'MNIST' } as const
const numbers = ['one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten']

/** Heading of a report that was given none, e.g. `Split Fashion-MNIST in five tasks`. */
export function titleOf(data: { name: keyof typeof names; subset: boolean }, tasks: number): string {
  const part = data.subset ? ' (small subset)' : ''
  if (tasks === 1) return `${names[data.name]}${part}`
  return `Split ${names[data.name]}${part} in ${numbers[tasks - 1] ?? tasks} tasks`
}
