'use strict';
// The page of an atlas: chooses, searches, sorts, compares. Everything shown comes from two kinds of elements that the
// page brings along: #atlas-data (JSON) and #sheet-N (where sheet N is: a data: address or a file beside the page).
(() => {
const DATA = JSON.parse(document.getElementById('atlas-data').textContent);
const WORDS = JSON.parse(document.getElementById('atlas-words').textContent);
const MOST_COMPARED = 4;
const ALL = '*';
const find = id => document.getElementById(id);

// ---- words -------------------------------------------------------------------------------------------------------
let language = 'en';
const say = (key, facts = {}) => {
  const text = WORDS[language][key];
  if (text === undefined) throw new Error('no word for ' + key);
  return text.replace(/\{(\w+)\}/g, (_, name) => facts[name]);
};
const speak = () => {
  document.documentElement.lang = language === 'zh' ? 'zh-Hans' : 'en';
  for (const e of document.querySelectorAll('[data-say]')) e.textContent = say(e.dataset.say, DATA.facts);
  for (const e of document.querySelectorAll('[data-label]')) e.setAttribute('aria-label', say(e.dataset.label));
  for (const e of document.querySelectorAll('[data-hint]')) e.placeholder = say(e.dataset.hint);
  for (const b of document.querySelectorAll('#languages button'))
    b.setAttribute('aria-pressed', String(b.dataset.language === language));
};
const number = value => {
  if (value === null) return '–';
  if (typeof value === 'string') return value;
  return (Math.abs(value) >= 1e5 || (value && Math.abs(value) < 1e-3)) ? value.toExponential(2) : String(value);
};
const make = (tag, attributes = {}, ...children) => {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === 'text') e.textContent = value;
    else if (name.startsWith('on')) e.addEventListener(name.slice(2), value);
    else if (value !== false && value !== undefined) e.setAttribute(name, value === true ? '' : value);
  }
  e.append(...children.filter(Boolean));
  return e;
};

// ---- records -----------------------------------------------------------------------------------------------------
const layerNumber = name => DATA.layers.findIndex(layer => layer.name === name);
const shown = (layer, channel, rank) => DATA.shown[layer.pictures[channel][rank]];
const filled = (layer, channel) => layer.pictures[channel].filter(i => i >= 0).length;
const known = new Map();
const about = (l, c) => { // what the labels of a channel's pictures say
  const key = l + '/' + c;
  if (!known.has(key)) {
    const layer = DATA.layers[l], counts = new Map();
    for (let rank = 0; rank < filled(layer, c); rank++) {
      const label = shown(layer, c, rank)[2];
      if (label !== null) counts.set(label, (counts.get(label) || 0) + 1);
    }
    const classes = [...counts].sort((a, b) => b[1] - a[1]);
    known.set(key, {classes, purity: classes.length ? classes[0][1] / filled(layer, c) : 0});
  }
  return known.get(key);
};

const counted = classes => classes.map(([name, count]) => name + ' ×' + count).join(' · ');

// ---- pictures ----------------------------------------------------------------------------------------------------
const images = new Map();
const image = sheet => {
  if (!images.has(sheet)) {
    const made = new Image();
    made.src = find('sheet-' + sheet).textContent.trim();
    images.set(sheet, made.decode().then(() => made, () => { // a page that was moved without its folder
      find('missing').hidden = false;
      return null;
    }));
  }
  return images.get(sheet);
};
const draw = async (canvas, sheet, column, row, height, width) => {
  const from = await image(sheet);
  if (!from) return;
  canvas.getContext('2d').drawImage(from, column * width, row * height, width, height, 0, 0, width, height);
  canvas.dataset.drawn = '';
};
const tile = (layer, kind, channel, rank) => {
  const [height, width] = layer.tile;
  const canvas = make('canvas', {width, height, class: Math.max(height, width) <= 32 && 'small'});
  draw(canvas, layer[kind][Math.floor(channel / layer.rows)], rank, channel % layer.rows, height, width);
  return canvas;
};
const whole = at => {
  const [height, width] = DATA.wholeTile;
  const canvas = make('canvas', {width, height, class: Math.max(height, width) <= 64 && 'small'});
  const part = Math.floor(at / DATA.wholeOnSheet), index = at % DATA.wholeOnSheet;
  draw(canvas, DATA.whole[part], index % DATA.wholeColumns, Math.floor(index / DATA.wholeColumns), height, width);
  return canvas;
};

// ---- the address -------------------------------------------------------------------------------------------------
const state = {layer: DATA.layers[0].name, beside: '', q: '', sort: 'number', at: null, rank: -1, compare: []};
const write = () => {
  const words = new URLSearchParams({layer: state.layer});
  if (state.at) words.set('channel', called(state.at, state.layer));
  if (state.at && state.rank >= 0) words.set('rank', state.rank);
  if (state.q) words.set('q', state.q);
  if (state.sort !== 'number') words.set('sort', state.sort);
  if (state.beside) words.set('beside', state.beside);
  if (state.compare.length) words.set('compare', state.compare.map(at => called(at, ALL)).join('|'));
  words.set('lang', language);
  history.replaceState(null, '', '#' + words);
};
const called = ([l, c], scope) => (DATA.layers[l].name === scope ? '' : DATA.layers[l].name + ':') + c;
const place = (text, scope) => { // a channel as [layer, channel], or null
  const colon = text.lastIndexOf(':'), l = layerNumber(colon < 0 ? scope : text.slice(0, colon));
  const c = /^\d+$/.test(text.slice(colon + 1)) ? Number(text.slice(colon + 1)) : -1;
  return l >= 0 && c >= 0 && c < DATA.layers[l].channels ? [l, c] : null;
};
const read = () => {
  const words = new URLSearchParams(location.hash.slice(1)), word = name => words.get(name) || '';
  const has = name => name === ALL || layerNumber(name) >= 0;
  state.layer = has(word('layer')) ? word('layer') : DATA.layers[0].name;
  state.beside = has(word('beside')) ? word('beside') : '';
  state.q = word('q');
  state.sort = ['strength', 'purity'].includes(word('sort')) ? word('sort') : 'number';
  state.at = place(word('channel'), state.layer);
  const rank = /^\d+$/.test(word('rank')) ? Number(word('rank')) : -1;
  state.rank = state.at && rank < filled(DATA.layers[state.at[0]], state.at[1]) ? rank : -1;
  state.compare = word('compare').split('|').map(text => place(text, '')).filter(Boolean).slice(0, MOST_COMPARED);
  language = word('lang') in WORDS ? word('lang') : /^zh/.test(navigator.language) ? 'zh' : 'en';
};

// ---- which channels, in which order ------------------------------------------------------------------------------
const matches = (l, c, phrase) => { // 0: not at all; else how well
  const layer = DATA.layers[l], classes = about(l, c).classes;
  const word = token => {
    const range = token.match(/^(\d+)-(\d+)$/);
    if (/^#?\d+$/.test(token) && Number(token.replace('#', '')) === c) return filled(layer, c) + 1;
    if (range && c >= Number(range[1]) && c <= Number(range[2])) return 1;
    if ((layer.units[c] || '').toLowerCase().includes(token) && token) return filled(layer, c) + 1;
    const labelled = classes.filter(([name]) => name.toLowerCase().includes(token)).reduce((n, [, k]) => n + k, 0);
    return labelled || (layer.name.toLowerCase().includes(token) && !/^\d+$/.test(token) ? 1 : 0);
  };
  return word(phrase) || Math.min(...phrase.split(/\s+/).map(word));
};
const chosen = scope => {
  const layers = scope === ALL ? DATA.layers.map((_, l) => l) : [layerNumber(scope)];
  const phrase = state.q.trim().toLowerCase();
  const found = [];
  let total = 0;
  for (const l of layers) for (let c = 0; c < DATA.layers[l].channels; c++) {
    const match = phrase ? matches(l, c, phrase) : 1;
    total += 1;
    if (match) found.push({l, c, match});
  }
  const strength = ({l, c}) => { const v = DATA.layers[l].values[c][0]; return typeof v === 'number' ? v : v ? Infinity : -Infinity; };
  const falling = (a, b) => a === b ? 0 : b - a;
  if (state.sort === 'strength') found.sort((a, b) => falling(strength(a), strength(b)));
  if (state.sort === 'purity')
    found.sort((a, b) => (phrase && b.match - a.match) || about(b.l, b.c).purity - about(a.l, a.c).purity ||
      falling(strength(a), strength(b)));
  return {found, total};
};

// ---- a channel ---------------------------------------------------------------------------------------------------
const title = (l, c) => { // the units of an output are its classes
  const unit = DATA.layers[l].units[c];
  return say('channel', {channel: c}) + (unit === undefined ? '' : ' · ' + unit);
};
const spell = (layer, channel, rank) => {
  const [, name, label] = shown(layer, channel, rank);
  const facts = {rank: rank + 1, value: number(layer.values[channel][rank]), name};
  return label === null ? say('tile', facts) : say('tileLabelled', {...facts, label});
};
const mosaic = (l, c, kind) => {
  const layer = DATA.layers[l], real = kind === 'patches';
  const box = make('div', {class: 'mosaic', role: real && 'group', 'aria-label': real && say('patchesOf', {channel: c}),
    'aria-hidden': !real && 'true'});
  for (let rank = 0; rank < filled(layer, c); rank++) {
    const attributes = {class: 'tile', 'data-rank': rank, title: spell(layer, c, rank), onclick: () => open(l, c, rank)};
    box.append(real
      ? make('button', {...attributes, type: 'button', 'aria-label': spell(layer, c, rank), tabindex: rank ? -1 : 0},
        tile(layer, kind, c, rank))
      : make('span', attributes, tile(layer, kind, c, rank)));
  }
  return box;
};
const address = (l, c) => '#' + new URLSearchParams({layer: DATA.layers[l].name, channel: c, lang: language});
const fill = (card, l, c, named) => {
  const layer = DATA.layers[l], {classes} = about(l, c), pinned = state.compare.some(([a, b]) => a === l && b === c);
  const values = layer.values[c];
  const chips = counted(classes);
  card.replaceChildren(
    make('header', {},
      make('h3', {}, make('a', {href: address(l, c), text: (named ? layer.name + ' · ' : '') + title(l, c)})),
      make('button', {type: 'button', class: 'pin', 'aria-pressed': String(pinned), text: say('compare'),
        'aria-label': say('compareChannel', {channel: c, layer: layer.name}), onclick: () => pin(l, c)})),
    make('p', {class: 'facts-line', title: chips},
      make('b', {text: number(values[0])}), ' ', make('span', {class: 'soft', text: chips})),
    make('div', {class: 'pairing'}, mosaic(l, c, 'patches'),
      layer.projections ? mosaic(l, c, 'projections') :
        named && make('p', {class: 'soft none', text: say('noProjections')})));
  if (layer.nans[c]) card.append(make('p', {class: 'warn', text: say('nans', {count: layer.nans[c]})}));
  if (!filled(layer, c)) card.append(make('p', {class: 'soft', text: say('nothing')}));
};

// Only the cards near the window hold anything: 512 channels are 9,216 tiles.
const cards = new Map();
const watcher = new IntersectionObserver(entries => {
  for (const {target, isIntersecting} of entries) {
    const card = cards.get(target);
    if (!card) continue;
    if (isIntersecting && !card.full) fill(target, card.l, card.c, card.named);
    else if (!isIntersecting && card.full && !target.contains(document.activeElement)) target.replaceChildren();
    else continue;
    card.full = isIntersecting;
  }
}, {rootMargin: '900px 0px'});
const column = (scope, place) => {
  const {found, total} = chosen(scope), layer = DATA.layers[layerNumber(scope)];
  const head = make('h2', {text: layer ? layer.name : say('allLayers')});
  const what = layer
    ? say('layerFacts', {operation: layer.operation, channels: layer.channels, map: layer.maps.join(' × ') || '1',
      field: layer.field === 'everything' ? say('everything') : layer.field + ' ' + say('pixels')})
    : say('layersFacts', {layers: DATA.layers.length});
  const grid = make('div', {class: 'channels'});
  if (layer) size(grid, [layer]); else size(grid, DATA.layers);
  for (const {l, c} of found) {
    const card = make('article', {class: 'channel', 'data-layer': DATA.layers[l].name, 'data-channel': c,
      'aria-label': DATA.layers[l].name + ' ' + say('channel', {channel: c})});
    cards.set(card, {l, c, named: !layer, full: false});
    grid.append(card);
  }
  const section = make('section', {class: 'column', 'data-place': place}, head, make('p', {class: 'soft', text: what}));
  if (layer && !layer.projections) section.append(make('p', {class: 'soft', text: say('noProjectionsLong')}));
  if (!found.length) {
    const more = scope === ALL ? 0 : chosen(ALL).found.length;
    const rest = make('p', {class: 'empty', text: say('noChannel', {q: state.q}) + ' '});
    if (more) rest.append(make('button', {type: 'button', text: say('elsewhere', {count: more}), onclick: () => {
      state[place] = ALL;
      show();
      find('search').focus();
    }}));
    section.append(rest);
  }
  section.append(grid);
  return {section, grid, found, total};
};
const mark = () => { // the channel of the address
  for (const [card, {l, c}] of cards) card.classList.toggle('chosen', !!state.at && state.at[0] === l && state.at[1] === c);
};
const size = (grid, layers) => { // tiles of one size in a grid, so that cards keep their height while they are empty
  const side = Math.max(...layers.map(layer => Math.max(...layer.tile)));
  const across = Math.ceil(Math.sqrt(DATA.k)), cell = Math.min(64, Math.max(36, side));
  const paired = layers.some(layer => layer.projections);
  grid.style.setProperty('--cell', cell + 'px');
  grid.style.setProperty('--across', across);
  grid.style.setProperty('--down', Math.ceil(DATA.k / across));
  grid.style.setProperty('--mosaics', paired ? 2 : 1);
};

// ---- the whole page ----------------------------------------------------------------------------------------------
const show = () => {
  for (const card of cards.keys()) watcher.unobserve(card);
  cards.clear();
  speak();
  choose('layer', [[ALL, say('allLayers')]], state.layer);
  choose('beside', [['', say('nothingBeside')], [ALL, say('allLayers')]], state.beside);
  find('sort').replaceChildren(...['number', 'strength', 'purity'].map(name =>
    make('option', {value: name, text: say('sort_' + name), selected: name === state.sort})));
  if (find('search').value !== state.q) find('search').value = state.q;
  const columns = [column(state.layer, 'layer'), ...(state.beside ? [column(state.beside, 'beside')] : [])];
  find('columns').replaceChildren(...columns.map(made => made.section));
  find('columns').classList.toggle('two', columns.length > 1);
  find('status').textContent = columns.map(({found, total}) => found.length === total
    ? say('channels', {count: total}) : say('channelsOf', {count: found.length, total})).join(' | ');
  for (const card of cards.keys()) watcher.observe(card);
  mark();
  compare();
  write();
};
const choose = (id, first, value) => find(id).replaceChildren(...first.map(([v, text]) =>
  make('option', {value: v, text, selected: v === value})), ...DATA.layers.map(layer =>
  make('option', {value: layer.name, text: layer.name + ' – ' + layer.operation, selected: layer.name === value})));

const pin = (l, c) => {
  const at = state.compare.findIndex(([a, b]) => a === l && b === c);
  if (at >= 0) state.compare.splice(at, 1);
  else state.compare = [...state.compare, [l, c]].slice(-MOST_COMPARED);
  for (const [card, {l: a, c: b, full}] of cards)
    if (full) card.querySelector('.pin').setAttribute('aria-pressed', String(state.compare.some(([x, y]) => x === a && y === b)));
  compare();
  write();
};
const compare = () => {
  const section = find('comparison');
  section.hidden = !state.compare.length;
  if (section.hidden) return section.replaceChildren();
  const grid = make('div', {class: 'channels compared'});
  size(grid, state.compare.map(([l]) => DATA.layers[l]));
  for (const [l, c] of state.compare) {
    const card = make('article', {class: 'channel', 'data-layer': DATA.layers[l].name, 'data-channel': c,
      'aria-label': DATA.layers[l].name + ' ' + say('channel', {channel: c})});
    fill(card, l, c, true);
    grid.append(card);
  }
  const rows = [
    [say('layer'), ([l]) => DATA.layers[l].name + ' – ' + DATA.layers[l].operation],
    [say('strongest'), ([l, c]) => number(DATA.layers[l].values[c][0])],
    [say('weakest'), ([l, c]) => number(DATA.layers[l].values[c][filled(DATA.layers[l], c) - 1] ?? null)],
    [say('purity'), ([l, c]) => about(l, c).classes.length ? Math.round(about(l, c).purity * 100) + '%' : '–'],
    [say('classes'), ([l, c]) => counted(about(l, c).classes) || '–'],
  ];
  if (state.compare.length > 1) {
    const own = ([l, c]) => new Set(DATA.layers[l].pictures[c].filter(i => i >= 0));
    const first = own(state.compare[0]);
    rows.push([say('shared'), (one, i) => i ? String([...own(one)].filter(p => first.has(p)).length) : '–']);
  }
  const table = make('table', {}, make('thead', {}, make('tr', {}, make('td'), ...state.compare.map(([l, c]) =>
    make('th', {scope: 'col', text: DATA.layers[l].name + ' · ' + c})))), make('tbody', {}, ...rows.map(([name, of]) =>
    make('tr', {}, make('th', {scope: 'row', text: name}), ...state.compare.map((one, i) => make('td', {text: of(one, i)}))))));
  section.replaceChildren(
    make('header', {}, make('h2', {text: say('comparison')}),
      make('button', {type: 'button', text: say('clear'), onclick: () => {
        state.compare = [];
        show();
        find('search').focus();
      }})),
    ...(state.compare.length < 2 ? [make('p', {class: 'soft', text: say('oneMore')})] : []), grid,
    make('div', {class: 'scroll'}, table));
};

// ---- one patch ---------------------------------------------------------------------------------------------------
const dialog = find('patch');
let opened = null;
const open = (l, c, rank) => {
  const layer = DATA.layers[l], at = layer.pictures[c][rank], [picture, name, label] = DATA.shown[at];
  opened = [l, c, rank];
  const [top, left, bottom, right] = layer.boxes ? layer.boxes[c].slice(4 * rank, 4 * rank + 4) : [0, 0, ...DATA.size];
  const [height, width] = DATA.size, inside = (v, most) => Math.min(most, Math.max(0, v));
  const frame = make('div', {class: 'frame'});
  const box = [inside(top, height), inside(left, width), inside(bottom, height), inside(right, width)];
  frame.style.cssText = 'top:' + 100 * box[0] / height + '%;left:' + 100 * box[1] / width + '%;height:' +
    100 * (box[2] - box[0]) / height + '%;width:' + 100 * (box[3] - box[1]) / width + '%';
  const picture_ = make('div', {class: 'whole', role: 'img', 'aria-label': say('wholeOf', {name})}, whole(at), frame);
  const cell = layer.maps.length ? layer.maps.reduceRight(([rest, found], n) => [Math.floor(rest / n), [rest % n, ...found]],
    [layer.places[c][rank], []])[1].join(', ') : '–';
  const padded = top < 0 || left < 0 || bottom > height || right > width;
  const facts = [
    [say('layer'), layer.name + ' – ' + layer.operation], [say('channelWord'), String(c)],
    [say('rank'), say('rankOf', {rank: rank + 1, count: filled(layer, c)})], [say('value'), number(layer.values[c][rank])],
    [say('label'), label === null ? '–' : label], [say('file'), name], [say('numberInSplit'), String(picture)],
    [say('place'), cell],
    [say('field'), say('fieldAt', {top, bottom: bottom - 1, left, right: right - 1}) + (padded ? ' ' + say('padded') : '')],
  ];
  find('patch-title').textContent = layer.name + ' · ' + title(l, c) + ' · ' + (rank + 1);
  find('patch-body').replaceChildren(picture_, make('div', {class: 'beside'},
    make('div', {class: 'pairing large'},
      make('figure', {}, tile(layer, 'patches', c, rank), make('figcaption', {class: 'soft', text: say('patch')})),
      layer.projections && make('figure', {}, tile(layer, 'projections', c, rank),
        make('figcaption', {class: 'soft', text: say('projection')}))),
    make('dl', {class: 'facts'}, ...facts.flatMap(([key, value]) => [make('dt', {text: key}), make('dd', {text: value})]))));
  find('patch-before').disabled = rank === 0;
  find('patch-after').disabled = rank === filled(layer, c) - 1;
  if (!dialog.open) dialog.showModal();
  if (document.activeElement.disabled || !dialog.contains(document.activeElement)) find('patch-close').focus();
  Object.assign(state, {at: [l, c], rank});
  mark();
  write();
};
const step = by => {
  const [l, c, rank] = opened;
  if (rank + by >= 0 && rank + by < filled(DATA.layers[l], c)) open(l, c, rank + by);
};
dialog.addEventListener('close', () => {
  state.rank = -1;
  write();
});
dialog.addEventListener('click', event => { if (event.target === dialog) dialog.close(); });
dialog.addEventListener('keydown', event => {
  const by = {ArrowLeft: -1, ArrowRight: 1}[event.key];
  if (by) {
    event.preventDefault();
    step(by);
  }
});
find('patch-close').addEventListener('click', () => dialog.close());
find('patch-before').addEventListener('click', () => step(-1));
find('patch-after').addEventListener('click', () => step(1));

// ---- keys and choices --------------------------------------------------------------------------------------------
const focusTile = (card, rank) => {
  const entry = cards.get(card);
  if (entry && !entry.full) { // it was too far away to hold anything
    fill(card, entry.l, entry.c, entry.named);
    entry.full = true;
  }
  const tiles = [...card.querySelectorAll('button.tile')];
  if (!tiles.length) return false;
  const aim = tiles[Math.min(rank, tiles.length - 1)];
  for (const other of tiles) other.tabIndex = other === aim ? 0 : -1;
  aim.focus();
  return true;
};
document.addEventListener('keydown', event => {
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
  if (event.key === '/' && !typing && !dialog.open) {
    event.preventDefault();
    find('search').select();
    find('search').focus();
    return;
  }
  const from = event.target.closest && event.target.closest('button.tile');
  if (!from) return;
  const card = from.closest('.channel'), rank = Number(from.dataset.rank), across = Math.ceil(Math.sqrt(DATA.k));
  const count = card.querySelectorAll('button.tile').length;
  const to = {ArrowLeft: rank - 1, ArrowRight: rank + 1, ArrowUp: rank - across, ArrowDown: rank + across, Home: 0,
    End: count - 1}[event.key];
  if (to === undefined) return;
  event.preventDefault();
  if (to >= 0 && to < count) return focusTile(card, to);
  if (!['ArrowLeft', 'ArrowRight'].includes(event.key)) return;
  let next = card; // past the edge: the channel before or behind
  do next = to < 0 ? next.previousElementSibling : next.nextElementSibling;
  while (next && !focusTile(next, to < 0 ? DATA.k : 0));
});
let waiting = 0;
find('search').addEventListener('input', () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    state.q = find('search').value;
    show();
  }, 120);
});
for (const id of ['layer', 'sort', 'beside'])
  find(id).addEventListener('change', () => {
    state[id] = find(id).value;
    if (id === 'layer') state.at = null;
    show();
  });
for (const button of document.querySelectorAll('#languages button'))
  button.addEventListener('click', () => {
    language = button.dataset.language;
    show();
  });
const start = () => {
  if (dialog.open) dialog.close();
  read();
  const rank = state.rank;
  show();
  const card = [...cards.keys()].find(one => one.classList.contains('chosen'));
  if (card) card.scrollIntoView({block: 'center'});
  if (rank >= 0) open(...state.at, rank);
};
addEventListener('hashchange', start);
start();
})();
