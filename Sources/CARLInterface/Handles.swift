import CARL
import CARLHeader
