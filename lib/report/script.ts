import { createHash } from 'node:crypto'

/**
 * What the page does where scripts run: tables as CSV files, one task's row of samples at a time, pictures enlarged. Without it the page shows
 * everything. It is read by browsers as it stands, and so is plain JavaScript.
 */
export const script = `
const all = (selector, root = document) => [...root.querySelectorAll(selector)]
const make = (name, properties = {}, children = []) => {
  const element = Object.assign(document.createElement(name), properties)
  element.append(...children)
  return element
}
const text = (element) => [...element.childNodes].map((node) => node.textContent.trim()).filter(Boolean).join(' ').replaceAll('\\u00a0', ' ')

// Tables as CSV: where a value has more digits than are shown, or an error, both are in columns of their own.
const isNumber = (value) => value !== '' && Number.isFinite(Number(value))
const field = (value) => {
  // A spreadsheet would take the name of a method for a formula.
  const safe = /^[=+@-]/.test(value) && !isNumber(value) ? "'" + value : value
  return /[",\\n]/.test(safe) ? '"' + safe.replaceAll('"', '""') + '"' : safe
}
const csvOf = (table) => {
  const rows = [...table.rows].map((row) => [...row.cells])
  const bounds = ['error', 'low', 'high'].map((key) => ({
    key,
    columns: new Set(rows.flatMap((row) => row.flatMap((cell, i) => (cell.querySelector('data')?.dataset[key] ? [i] : [])))),
  }))
  return rows
    .map((row, r) =>
      row.flatMap((cell, i) => {
        const data = cell.querySelector('data')
        const more = bounds.filter(({ columns }) => columns.has(i))
        return [
          data?.value ?? text(cell),
          ...more.map(({ key }) => (r === 0 ? text(cell) + ' (' + key + ')' : (data?.dataset[key] ?? ''))),
        ]
      }),
    )
    .map((row) => row.map(field).join(',') + '\\r\\n')
    .join('')
}
for (const table of all('main table')) {
  const section = table.closest('section')
  const name = section.id + '-' + (all('table', section).indexOf(table) + 1) + '.csv'
  const button = make('button', { type: 'button', className: 'csv', textContent: 'CSV' })
  button.setAttribute('aria-label', 'Download this table as ' + name)
  button.addEventListener('click', () => {
    const href = URL.createObjectURL(new Blob(['\\ufeff' + csvOf(table)], { type: 'text/csv' }))
    make('a', { href, download: name }).click()
    setTimeout(() => URL.revokeObjectURL(href), 10000)
  })
  ;(table.closest('.scroll') ?? table).after(button)
}

// One task's row of samples at a time.
for (const grid of all('.samples')) {
  const cells = all('[data-task]', grid)
  const tasks = [...new Set(cells.map((cell) => Number(cell.dataset.task)))]
  if (tasks.length < 2) continue
  const names = tasks.map((task) => text(cells.find((cell) => Number(cell.dataset.task) === task)))
  const whole = make('input', { type: 'checkbox', checked: true })
  const slider = make('input', { type: 'range', min: 0, max: tasks.length - 1, step: 1, value: tasks.length - 1 })
  const shown = make('output')
  const show = () => {
    shown.textContent = whole.checked ? '' : names[slider.value]
    slider.setAttribute('aria-valuetext', names[slider.value])
    for (const cell of cells) cell.hidden = !whole.checked && Number(cell.dataset.task) !== tasks[slider.value]
  }
  whole.addEventListener('input', show)
  slider.addEventListener('input', () => {
    whole.checked = false
    show()
  })
  show()
  const controls = [make('label', {}, ['After task ', slider]), make('label', {}, [whole, ' all tasks']), shown]
  grid.closest('.scroll').before(make('div', { className: 'tasks' }, controls))
}

// Pictures enlarged; from there to those of the same column.
const enlarged = make('img')
const names = make('div')
const caption = make('figcaption')
const earlier = make('button', { type: 'button', textContent: '‹ Earlier' })
const later = make('button', { type: 'button', textContent: 'Later ›' })
const close = make('button', { type: 'button', textContent: 'Close' })
const figure = make('figure', {}, [make('div', { className: 'picture' }, [names, enlarged]), caption])
const dialog = make('dialog', {}, [figure, make('div', { className: 'buttons' }, [earlier, later, close])])
dialog.setAttribute('aria-label', 'Enlarged picture')
document.body.append(dialog)
let current
const column = () => all('img[data-column="' + current.dataset.column + '"]', current.closest('.samples'))
const open = (image) => {
  current = image
  enlarged.src = image.src
  enlarged.alt = image.alt
  caption.textContent = image.alt
  const rows = image.closest('.picture').querySelector('.rows')
  names.replaceChildren(...(rows ? [rows.cloneNode(true)] : []))
  const at = column().indexOf(image)
  earlier.disabled = at === 0
  later.disabled = at === column().length - 1
  if (!dialog.open) {
    dialog.showModal()
    close.focus()
  }
}
const step = (by) => {
  const next = column()[column().indexOf(current) + by]
  if (next) open(next)
}
earlier.addEventListener('click', () => step(-1))
later.addEventListener('click', () => step(1))
close.addEventListener('click', () => dialog.close())
dialog.addEventListener('click', ({ target }) => target === dialog && dialog.close())
dialog.addEventListener('keydown', ({ key }) => {
  if (key === 'ArrowLeft') step(-1)
  if (key === 'ArrowRight') step(1)
})
for (const image of all('.samples img')) {
  const button = make('button', { type: 'button', className: 'zoom' })
  image.replaceWith(button)
  button.append(image)
  button.addEventListener('click', () => open(image))
}

// On paper everything is open.
let folded = []
addEventListener('beforeprint', () => {
  folded = all('details:not([open])')
  for (const details of folded) details.open = true
})
addEventListener('afterprint', () => {
  for (const details of folded) details.open = false
})
`

/** Lets the page run this script and no other, and load nothing. */
export const contentPolicy = `default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-${createHash('sha256').update(script).digest('base64')}'`
