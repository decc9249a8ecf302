/** The page before it is told anything; its script fills it. */
export function livePage(): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>A run under way</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="style.css">
<script src="echarts.js" defer></script>
<script type="module" src="page/page.js"></script>
</head>
<body>
<a class="skip" href="#progress">Skip to the progress</a>
<main>
<header>
<h1 id="title">A run under way</h1>
<p id="about" class="note"></p>
<div class="bar">
<p role="status" id="state">Connecting …</p>
<button type="button" id="pause" aria-pressed="false">Pause updates</button>
</div>
<progress id="run-progress" max="1" value="0" aria-label="Progress of the whole run"></progress>
<p id="doing" class="note"></p>
<progress id="task-progress" max="1" value="0" aria-label="Progress of what is done now"></progress>
<dl id="now" class="now"></dl>
</header>
<section id="progress" aria-labelledby="progress-title">
<h2 id="progress-title">Progress</h2>
<p class="choose"><label for="seed">Seed</label> <select id="seed"></select></p>
<div class="scroll" tabindex="0" role="region" aria-label="Tasks of each method"><table id="progress-table"></table></div>
</section>
<section id="samples" aria-labelledby="samples-title" hidden>
<h2 id="samples-title">Samples of the current weights</h2>
<p id="samples-of" class="note"></p>
<p class="choose" id="step-choice"><label for="step">Step</label> <input type="range" id="step" min="0" max="0" value="0"> <output for="step" id="step-text"></output></p>
<img id="sample" alt="">
</section>
<section id="curves" aria-labelledby="curves-title">
<h2 id="curves-title">Curves</h2>
<p class="note">Each method minimises a sum of its own, so that the heights of two losses say nothing about each other. Dashed lines are where a task ends.</p>
<div class="charts">
<figure><figcaption>Loss</figcaption><div class="chart" id="chart-loss" role="img" aria-label="Loss: nothing yet"></div></figure>
<figure><figcaption>Norm of the gradient</figcaption><div class="chart" id="chart-gradNorm" role="img" aria-label="Norm of the gradient: nothing yet"></div></figure>
<figure><figcaption>Learning rate</figcaption><div class="chart" id="chart-lr" role="img" aria-label="Learning rate: nothing yet"></div></figure>
<figure><figcaption>Steps a second</figcaption><div class="chart" id="chart-stepsPerSecond" role="img" aria-label="Steps a second: nothing yet"></div></figure>
<figure><figcaption>Memory, MiB</figcaption><div class="chart" id="chart-memory" role="img" aria-label="Memory: nothing yet"></div></figure>
</div>
</section>
<section id="metrics" aria-labelledby="metrics-title">
<h2 id="metrics-title">After each task</h2>
<p id="no-metrics" class="note">No task is done yet.</p>
<div id="metric-tables"></div>
<div class="scroll" tabindex="0" role="region" aria-label="What each method draws after each task"><div id="grids"></div></div>
</section>
<section id="log" aria-labelledby="log-title">
<h2 id="log-title">Warnings and errors</h2>
<p id="no-log" class="note">None.</p>
<ol id="lines" aria-live="polite"></ol>
</section>
</main>
</body>
</html>
`
}
