/** Names of data sets and formats. */
export const dataNames = ['fashion-mnist', 'mnist', 'cifar-10', 'cifar-100', 'idx', 'image-folder'] as const
