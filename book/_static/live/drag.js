// What a reader does with a canvas: dragging by mouse, pen or finger, and the arrow keys.
// The style sheet says `touch-action: none` of these canvases, so that a finger does not scroll.

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

/**
 * Reports a pointer over an element. Points are [x, y] in CSS pixels from its upper left corner.
 *
 * @param {HTMLElement} element gets the pointer while a button or a finger is down
 * @param {object} listeners
 * @param {(point: number[]) => void} [listeners.start] the pointer goes down
 * @param {(point: number[], last: number[] | null) => void} listeners.move it is down: at the press,
 *   where both points are the same, and at every move; `last` is null if it went down elsewhere
 * @param {() => void} [listeners.end] it is lifted, after a press on the element
 * @param {(point: number[] | null) => void} [listeners.hover] it moves without being down, or leaves
 */
export function draggable(element, { start, move, end, hover }) {
  let last = null;
  const at = ({ clientX, clientY }) => {
    const { left, top } = element.getBoundingClientRect();
    return [clientX - left, clientY - top];
  };
  const lift = () => {
    if (!last) return;
    last = null;
    end?.();
  };
  element.addEventListener("pointerdown", (event) => {
    element.setPointerCapture(event.pointerId);
    last = at(event);
    start?.(last);
    move(last, last);
  });
  element.addEventListener("pointermove", (event) => {
    const point = at(event);
    if (!event.buttons) {
      lift(); // whatever took the pointer away told nobody
      hover?.(point);
      return;
    }
    move(point, last);
    if (last) last = point;
  });
  element.addEventListener("pointerup", lift);
  element.addEventListener("pointercancel", lift);
  element.addEventListener("pointerleave", () => hover?.(null));
}

/**
 * Reports the arrow keys of an element that has the focus; the page does not scroll then.
 *
 * @param {HTMLElement} element
 * @param {(direction: number[], large: boolean) => void} onArrow gets a step to the right and up,
 *   each -1, 0 or 1, and whether Shift is down
 */
export function arrowKeys(element, onArrow) {
  element.addEventListener("keydown", (event) => {
    const direction = ARROWS[event.key];
    if (!direction) return;
    event.preventDefault();
    onArrow(direction, event.shiftKey);
  });
}
