// Trees, bushes, cacti, boulders, flowers and reeds: several of each, drawn once into the atlas. Light falls from the north-west:
// every crown is a heap of leaf-blobs, dark below and to the south-east, bright above and to the north-west.
//
// A picture's foot (where the thing stands) is at the middle of its width, FOOT of its height from the bottom.

import { chances, hash } from "./noise.js";

const TAU = Math.PI * 2;
export const FOOT = 0.06;

function blob(context, x, y, rx, ry, style, turn = 0) {
  context.fillStyle = style;
  context.beginPath();
  context.ellipse(x, y, rx, ry, turn, 0, TAU);
  context.fill();
}

function line(context, x0, y0, x1, y1, width, style, bend = 0) {
  context.strokeStyle = style;
  context.lineWidth = width;
  context.beginPath();
  context.moveTo(x0, y0);
  context.quadraticCurveTo((x0 + x1) / 2 + bend, (y0 + y1) / 2, x1, y1);
  context.stroke();
}

const rgb = ([r, g, b], light = 1, alpha = 1) =>
  `rgba(${Math.min(255, Math.round(r * light))},${Math.min(255, Math.round(g * light))},${Math.min(255, Math.round(b * light))},${alpha})`;

function trunk(context, x, top, bottom, width, colour) {
  context.fillStyle = rgb(colour, 0.62);
  context.beginPath();
  context.moveTo(x - width * 0.36, top);
  context.quadraticCurveTo(x - width * 0.4, bottom - width * 0.4, x - width * 0.85, bottom);
  context.quadraticCurveTo(x, bottom + width * 0.28, x + width * 0.85, bottom);
  context.quadraticCurveTo(x + width * 0.4, bottom - width * 0.4, x + width * 0.36, top);
  context.fill();
  line(context, x - width * 0.16, top, x - width * 0.32, bottom - width * 0.2, width * 0.26, rgb(colour, 1.05, 0.85));
  line(context, x + width * 0.1, top, x + width * 0.12, bottom - width * 0.2, width * 0.1, rgb(colour, 0.4, 0.5));
}

/** A heap of leaf-blobs inside an ellipse, from dark below to bright towards the light; small tufts break its outline. */
function crown(context, next, x, y, rx, ry, colour, blobs) {
  blob(context, x + rx * 0.04, y + ry * 0.08, rx * 0.96, ry * 0.96, rgb(colour, 0.42));
  for (let index = 0; index < blobs; index += 1) {
    const angle = (index / blobs) * TAU + next() * 0.5;
    const size = rx * (0.2 + 0.1 * next());
    blob(context, x + Math.cos(angle) * rx * 0.8, y + Math.sin(angle) * ry * 0.8, size, size * 0.9, rgb(colour, 0.46 + 0.1 * next()));
  }
  for (let layer = 0; layer < 4; layer += 1) {
    const light = 0.62 + layer * 0.17;
    const shrink = 0.82 - layer * 0.17;
    const shift = layer * 0.1;
    for (let index = 0; index < blobs; index += 1) {
      const angle = next() * TAU;
      const far = Math.sqrt(next()) * shrink;
      const size = rx * (0.25 - layer * 0.03) * (0.7 + 0.5 * next());
      const tone = light * (0.92 + 0.16 * next());
      blob(context, x + (Math.cos(angle) * far - shift) * rx, y + (Math.sin(angle) * far - shift * 1.25) * ry, size, size * 0.82, rgb(colour, tone));
    }
  }
  for (let index = 0; index < blobs * 5; index += 1) {
    const angle = next() * TAU;
    const far = Math.sqrt(next()) * 0.9;
    const px = Math.cos(angle) * far;
    const py = Math.sin(angle) * far;
    const lit = 0.95 - 0.38 * px - 0.5 * py;
    const size = rx * (0.035 + 0.03 * next());
    blob(context, x + px * rx, y + py * ry, size * 1.5, size, rgb(colour, lit + 0.12, 0.75), -0.5 + next());
  }
}

const DRAW = {
  broadleaf(context, next, width, height, unit) {
    const colour = [[96, 148, 60], [82, 138, 66], [118, 152, 58], [72, 126, 74], [134, 146, 62]][Math.floor(next() * 5)];
    const foot = height * (1 - FOOT);
    const x = width / 2;
    trunk(context, x, height * 0.5, foot, unit * 0.3, [128, 100, 72]);
    const rx = width * 0.4;
    const ry = height * 0.33;
    const y = height * 0.42;
    blob(context, x + rx * 0.1, y + ry * 0.86, rx * 0.66, ry * 0.26, "rgba(12,26,18,.4)");
    if (next() < 0.5) {
      crown(context, next, x - rx * 0.3, y + ry * 0.16, rx * 0.68, ry * 0.74, colour, 8);
      crown(context, next, x + rx * 0.34, y + ry * 0.1, rx * 0.62, ry * 0.7, colour, 8);
      crown(context, next, x, y - ry * 0.2, rx * 0.72, ry * 0.76, colour, 10);
    } else {
      crown(context, next, x, y, rx, ry, colour, 13);
    }
  },
  conifer(context, next, width, height, unit) {
    const colour = [[52, 108, 72], [60, 116, 62], [44, 98, 76], [70, 118, 70]][Math.floor(next() * 4)];
    const foot = height * (1 - FOOT);
    const x = width / 2;
    trunk(context, x, height * 0.7, foot, unit * 0.24, [116, 92, 70]);
    const tiers = 6;
    for (let tier = 0; tier < tiers; tier += 1) {
      const share = 1 - tier / tiers; // 1 at the bottom
      const bottom = height * (0.18 + 0.66 * share) + unit * 0.02;
      const top = bottom - height * (0.2 + 0.06 * share);
      const half = width * (0.08 + 0.36 * share ** 0.9);
      const teeth = 5 + Math.round(share * 4);
      const skirt = (scale, light, dx, dy) => {
        context.fillStyle = rgb(colour, light);
        context.beginPath();
        context.moveTo(x + dx, top + dy);
        for (let tooth = 0; tooth <= teeth; tooth += 1) {
          const across = (tooth / teeth) * 2 - 1;
          const sag = (1 - across * across) * height * 0.05;
          context.lineTo(x + dx + across * half * scale, bottom + dy - height * 0.045 * (1 - scale) + sag);
          if (tooth < teeth) {
            const between = ((tooth + 0.5) / teeth) * 2 - 1;
            context.lineTo(x + dx + between * half * scale, bottom + dy - height * 0.035 + (1 - between * between) * height * 0.05);
          }
        }
        context.closePath();
        context.fill();
      };
      skirt(1, 0.52, 0, unit * 0.03);
      skirt(0.92, 0.8, -half * 0.06, 0);
      skirt(0.6, 1.12, -half * 0.22, -unit * 0.03);
      for (let index = 0; index < 7; index += 1) {
        const across = next() * 1.6 - 1;
        const y = bottom - height * 0.03 - next() * height * 0.07;
        line(context, x + across * half * 0.62, y - unit * 0.06, x + across * half * 0.7, y + unit * 0.02, unit * 0.03, rgb(colour, 1.5 - across * 0.35, 0.55));
      }
    }
    line(context, x, height * 0.12, x, height * 0.05, unit * 0.05, rgb(colour, 1.15));
  },
  palm(context, next, width, height, unit) {
    const foot = height * (1 - FOOT);
    const lean = (next() - 0.5) * width * 0.3;
    const x = width / 2;
    const topX = x + lean;
    const topY = height * 0.3;
    line(context, x, foot, topX, topY, unit * 0.17, rgb([128, 96, 62], 0.7), lean * -0.4);
    line(context, x - unit * 0.03, foot, topX - unit * 0.03, topY, unit * 0.08, rgb([166, 128, 84]), lean * -0.4);
    for (let ring = 1; ring < 8; ring += 1) {
      const t = ring / 8;
      const px = x + lean * t * t;
      const py = foot + (topY - foot) * t;
      line(context, px - unit * 0.08, py, px + unit * 0.08, py + unit * 0.02, unit * 0.02, "rgba(50,32,18,.5)");
    }
    const leaves = 11;
    for (let index = 0; index < leaves; index += 1) {
      const angle = (index / leaves) * TAU + next() * 0.3;
      const length = width * (0.36 + 0.08 * next());
      const endX = topX + Math.cos(angle) * length;
      const endY = topY + Math.sin(angle) * length * 0.55 + length * 0.22;
      const lit = 0.75 - Math.sin(angle) * 0.3 - Math.cos(angle) * 0.18;
      line(context, topX, topY, endX, endY, unit * 0.13, rgb([86, 140, 66], lit * 0.7), 0);
      context.strokeStyle = rgb([112, 164, 72], lit + 0.12);
      context.lineWidth = unit * 0.07;
      context.beginPath();
      context.moveTo(topX, topY);
      context.quadraticCurveTo((topX + endX) / 2, (topY + endY) / 2 - length * 0.22, endX, endY);
      context.stroke();
    }
    blob(context, topX, topY, unit * 0.1, unit * 0.09, rgb([110, 76, 44]));
  },
  bush(context, next, width, height, unit) {
    const colour = [[92, 138, 58], [112, 146, 70], [78, 124, 66]][Math.floor(next() * 3)];
    crown(context, next, width / 2, height * 0.58, width * 0.4, height * 0.34, colour, 9);
    if (next() < 0.6) {
      const berry = ["#e0574a", "#f2d25c", "#e7e2f4"][Math.floor(next() * 3)];
      for (let index = 0; index < 8; index += 1) {
        blob(context, width * (0.22 + 0.5 * next()), height * (0.32 + 0.4 * next()), unit * 0.03, unit * 0.03, berry);
      }
    }
  },
  dead(context, next, width, height, unit) {
    const foot = height * (1 - FOOT);
    const x = width / 2;
    const bark = [134, 120, 106];
    trunk(context, x, height * 0.3, foot, unit * 0.18, bark);
    const branch = (x0, y0, angle, length, thick, depth) => {
      const x1 = x0 + Math.cos(angle) * length;
      const y1 = y0 + Math.sin(angle) * length;
      line(context, x0, y0, x1, y1, thick, rgb(bark, 0.66));
      line(context, x0 - thick * 0.2, y0, x1 - thick * 0.2, y1, thick * 0.4, rgb(bark, 1.1));
      if (depth === 0) return;
      branch(x1, y1, angle - 0.4 - next() * 0.4, length * 0.66, thick * 0.62, depth - 1);
      branch(x1, y1, angle + 0.3 + next() * 0.5, length * 0.6, thick * 0.6, depth - 1);
    };
    branch(x, height * 0.42, -1.2 - next() * 0.2, height * 0.16, unit * 0.1, 2);
    branch(x, height * 0.5, -2.1 - next() * 0.3, height * 0.15, unit * 0.08, 2);
    branch(x, height * 0.56, -0.6 - next() * 0.3, height * 0.13, unit * 0.07, 1);
  },
  cactus(context, next, width, height, unit) {
    const foot = height * (1 - FOOT);
    const x = width / 2;
    const green = [98, 146, 88];
    const column = (x0, y0, y1, thick) => {
      line(context, x0, y0, x0, y1, thick, rgb(green, 0.55));
      line(context, x0 - thick * 0.08, y0, x0 - thick * 0.08, y1, thick * 0.78, rgb(green, 0.85));
      line(context, x0 - thick * 0.22, y0, x0 - thick * 0.22, y1, thick * 0.22, rgb(green, 1.3));
      for (let y = y1; y < y0; y += unit * 0.12) {
        blob(context, x0 + thick * 0.12, y, unit * 0.012, unit * 0.012, "rgba(250,245,220,.8)");
        blob(context, x0 - thick * 0.3, y + unit * 0.06, unit * 0.012, unit * 0.012, "rgba(250,245,220,.8)");
      }
    };
    const arm = (side, y) => {
      line(context, x, y, x + side * unit * 0.27, y, unit * 0.15, rgb(green, 0.6));
      column(x + side * unit * 0.27, y, y - unit * (0.25 + 0.2 * next()), unit * 0.16);
    };
    arm(-1, height * (0.5 + 0.1 * next()));
    if (next() < 0.7) arm(1, height * (0.42 + 0.12 * next()));
    column(x, foot - unit * 0.06, height * 0.2, unit * 0.24);
    if (next() < 0.5) blob(context, x, height * 0.16, unit * 0.06, unit * 0.05, "#f08fb0");
  },
  boulder(context, next, width, height, unit) {
    const tone = [[150, 144, 138], [140, 136, 140], [160, 148, 132]][Math.floor(next() * 3)];
    const rock = (cx, cy, rx, ry) => {
      const sides = 9;
      const points = Array.from({ length: sides }, (_, index) => {
        const angle = (index / sides) * TAU + (next() - 0.5) * 0.4;
        const far = 0.84 + 0.2 * next();
        return [cx + Math.cos(angle) * rx * far, cy + Math.sin(angle) * ry * far];
      });
      const outline = (scale, dx, dy, style) => {
        context.fillStyle = style;
        context.beginPath();
        points.forEach(([px, py], index) => {
          const [nx, ny] = points[(index + 1) % sides];
          const at = (a, c, d) => c + (a - c) * scale + d;
          const mx = (at(px, cx, dx) + at(nx, cx, dx)) / 2;
          const my = (at(py, cy, dy) + at(ny, cy, dy)) / 2;
          if (index === 0) context.moveTo(mx, my);
          else context.quadraticCurveTo(at(px, cx, dx), at(py, cy, dy), mx, my);
        });
        const [px, py] = points[0];
        const [nx, ny] = points[1];
        context.quadraticCurveTo(cx + (px - cx) * scale + dx, cy + (py - cy) * scale + dy, cx + ((px + nx) / 2 - cx) * scale + dx, cy + ((py + ny) / 2 - cy) * scale + dy);
        context.fill();
      };
      outline(1, 0, 0, rgb(tone, 0.5));
      outline(0.88, -rx * 0.07, -ry * 0.1, rgb(tone, 0.78));
      outline(0.66, -rx * 0.15, -ry * 0.22, rgb(tone, 1.02));
      outline(0.36, -rx * 0.26, -ry * 0.36, rgb(tone, 1.22));
      for (let index = 0; index < 4; index += 1) {
        const x = cx + (next() - 0.5) * rx;
        const y = cy + (next() - 0.3) * ry;
        line(context, x, y, x + rx * 0.25 * (next() - 0.3), y + ry * 0.35 * next(), unit * 0.025, "rgba(30,28,36,.35)", unit * 0.04);
      }
      for (let index = 0; index < 6; index += 1) {
        blob(context, cx + (next() - 0.6) * rx, cy - ry * (0.1 + 0.5 * next()), unit * 0.04 * next(), unit * 0.025, "rgba(150,166,96,.5)");
      }
    };
    rock(width * 0.5, height * 0.58, width * 0.38, height * 0.36);
    if (next() < 0.6) rock(width * 0.28, height * 0.76, width * 0.17, height * 0.15);
  },
  flower(context, next, width, height, unit) {
    const colour = ["#fff4dc", "#ffd34f", "#f39ac0", "#b9a2ff", "#ff7d61"][Math.floor(next() * 5)];
    for (let index = 0; index < 6; index += 1) {
      const x = width * (0.2 + 0.6 * next());
      const foot = height * (0.8 + 0.14 * next());
      const top = foot - height * (0.3 + 0.3 * next());
      line(context, x, foot, x, top, unit * 0.025, "rgba(58,104,44,.9)", (next() - 0.5) * unit * 0.1);
      for (let petal = 0; petal < 5; petal += 1) {
        const angle = (petal / 5) * TAU;
        blob(context, x + Math.cos(angle) * unit * 0.045, top + Math.sin(angle) * unit * 0.038, unit * 0.036, unit * 0.032, colour);
      }
      blob(context, x, top, unit * 0.024, unit * 0.022, "#f7c948");
    }
  },
  reed(context, next, width, height, unit) {
    for (let index = 0; index < 11; index += 1) {
      const x = width * (0.25 + 0.5 * next());
      const foot = height * (0.86 + 0.08 * next());
      const lean = (next() - 0.5) * width * 0.4;
      const top = height * (0.12 + 0.3 * next());
      line(context, x, foot, x + lean, top, unit * 0.035, next() < 0.5 ? "rgb(92,132,66)" : "rgb(142,166,84)", lean * -0.3);
      if (next() < 0.4) line(context, x + lean, top, x + lean * 1.05, top + unit * 0.14, unit * 0.06, "rgb(116,80,48)");
    }
  },
};

// By ObjectKind: what to draw, size in tiles at size 1, how many different ones, how far it sways (tiles).
const KINDS = [
  { draw: "conifer", width: 1.9, height: 2.9, variants: 4, sway: 0.035 },
  { draw: "broadleaf", width: 2.4, height: 2.7, variants: 6, sway: 0.04 },
  { draw: "palm", width: 2.3, height: 2.6, variants: 3, sway: 0.05 },
  { draw: "bush", width: 1.15, height: 0.95, variants: 4, sway: 0.02 },
  { draw: "dead", width: 1.5, height: 1.9, variants: 3, sway: 0.012 },
  { draw: "cactus", width: 1.0, height: 1.4, variants: 3, sway: 0 },
  { draw: "boulder", width: 1.25, height: 1.0, variants: 5, sway: 0 },
  { draw: "flower", width: 0.6, height: 0.55, variants: 5, sway: 0.02 },
  { draw: "reed", width: 0.7, height: 0.95, variants: 3, sway: 0.05 },
];

/** Draws them all; the result gives, for an object of a chunk, its picture: { frame, width, height, sway }. */
export function makePlants(atlas) {
  const unit = atlas.unit;
  const pictures = KINDS.map(({ draw, width, height, variants, sway }, kind) =>
    Array.from({ length: variants }, (_, variant) => ({
      frame: atlas.draw(Math.ceil(width * unit), Math.ceil(height * unit), (context, w, h) => {
        DRAW[draw](context, chances(hash(kind, variant, 77)), w, h, unit);
      }),
      width,
      height,
      sway,
    })),
  );
  return (kind, luck) => pictures[kind][luck % pictures[kind].length];
}
