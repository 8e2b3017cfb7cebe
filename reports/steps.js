/* Shows the steps of one slice: that of the viewer, or of the slider beside them. */
'use strict';
(() => {
  const root = document.getElementById('steps');
  const steps = [...root.querySelectorAll('[data-step]')];
  const numbers = steps.map((step) => +step.dataset.step);
  const slider = root.querySelector('input');
  const told = root.querySelector('.told');

  function show(place) {
    steps.forEach((step, index) => { step.hidden = index !== place; });
    slider.value = place;
    slider.setAttribute('aria-valuetext', `Slice ${numbers[place]}`);
    told.textContent = `Slice ${numbers[place]}`;
  }

  slider.addEventListener('input', () => show(+slider.value));
  document.addEventListener('slice', ({ detail }) => {
    const away = numbers.map((number) => Math.abs(number - detail));
    show(away.indexOf(Math.min(...away)));
  });
  root.querySelector('.row').hidden = false;
  show(Math.max(0, steps.findIndex((step) => !step.hidden)));
})();
