// As users.js.
import './users.js';
